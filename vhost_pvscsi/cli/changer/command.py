"""`changer`: its command line."""

from __future__ import annotations

from pathlib import Path

import click

from vhost_pvscsi.cli.common import HELP_NAMES, telling_failures
from vhost_pvscsi.cli.verbs import GROUPED
from vhost_pvscsi.devices.changer.layout import MOST
from vhost_pvscsi.devices.changer.settings import IMPORT_EXPORT, SLOTS
from vhost_pvscsi.scsi.medium_changer import ElementType

from . import making


@click.group("changer", context_settings=HELP_NAMES)
def CHANGER() -> None:  # noqa: N802 -- as the other verbs are named
    """Make libraries of tapes, and move cartridges in them.

    PDEV changer:DIR of serve is such a library, its drives are LUNs that are tape:. All but create
    ask the daemon that serves it.
    """


@CHANGER.command(context_settings=HELP_NAMES)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--slots",
    type=click.IntRange(1, MOST[ElementType.STORAGE]),
    metavar="N",
    default=SLOTS,
    show_default=True,
    help="How many slots it has.",
)
@click.option(
    "--tapes",
    type=click.IntRange(0, MOST[ElementType.STORAGE]),
    metavar="N",
    default=0,
    show_default=True,
    help="How many empty tapes lie in them.",
)
@click.option(
    "--first",
    metavar="BARCODE",
    default="V00001",
    show_default=True,
    help="The barcode of the first tape, that ends with digits; the others are counted on.",
)
@click.option(
    "--import-export",
    type=click.IntRange(0, MOST[ElementType.IMPORT_EXPORT]),
    metavar="N",
    default=IMPORT_EXPORT,
    show_default=True,
    help="How many elements for import and export it has.",
)
@click.option(
    "--drive",
    "drives",
    metavar="VDEV",
    multiple=True,
    help="A LUN that is tape:, and a drive of it. Can be given several times.",
)
@click.option(
    "--capacity",
    metavar="SIZE",
    help="How large each tape is; without it there is no end but the host's.",
)
def create(
    folder: Path,
    slots: int,
    tapes: int,
    first: str,
    import_export: int,
    drives: tuple[str, ...],
    capacity: str | None,
) -> None:
    """Make a library of empty tapes.

    DIR may be there already, without a changer.toml. Tapes that lie there stay as they are.

    \b
    Example:
      vhost-pvscsi changer create lib --slots 8 --tapes 4 --drive 0:0:1:0
      vhost-pvscsi serve --socket-path s --lun 0:0:0:0=changer:lib --lun 0:0:1:0=tape:
    """  # noqa: D301 -- \b is click's
    with telling_failures():
        making.make(
            folder,
            making.Wanted(slots, import_export, drives, capacity),
            making.barcodes(first, tapes),
        )


for verb in GROUPED["changer"]:
    CHANGER.add_command(verb)
