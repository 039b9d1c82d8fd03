"""`tape`: its command line."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from vhost_pvscsi.cli.common import HELP_NAMES, telling_failures
from vhost_pvscsi.cli.render import size as in_words
from vhost_pvscsi.devices.tape.auxiliary import AuxiliaryMemory
from vhost_pvscsi.errors import REFUSED, ConfigurationError, DeviceError

from . import contents

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vhost_pvscsi.medium import TapeImage

_FILE = click.argument("file", type=click.Path(path_type=Path))
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group("tape", context_settings=HELP_NAMES)
def TAPE() -> None:  # noqa: N802 -- as the other verbs are named
    """Make and look at images of tapes.

    They are in SIMH's format, as PDEV tape:FILE of serve takes them. No daemon is asked; one that
    has the image attached may be writing it meanwhile.
    """


@contextlib.contextmanager
def _image(path: Path) -> Iterator[tuple[int, TapeImage]]:
    with telling_failures():
        try:
            with contents.opened(path) as (fd, image):
                yield fd, image
        except ConfigurationError as error:
            raise DeviceError(f"{path}: {error}", hint=error.hint) from error


@TAPE.command(context_settings=HELP_NAMES)
@_FILE
def create(file: Path) -> None:
    """Make an empty tape.

    It is an empty file. One that is there already is left alone.
    """
    with telling_failures():
        try:
            fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except FileExistsError as error:
            raise DeviceError(
                f"{file}: is there already", hint="mt erase empties a tape; rm removes it"
            ) from error
        except OSError as error:
            raise DeviceError(f"{file}: {error.strerror}") from error
        os.close(fd)


@TAPE.command(context_settings=HELP_NAMES)
@_FILE
@_JSON
def info(file: Path, as_json: bool) -> None:
    """Say what is on a tape: blocks, filemarks, bytes, and whether it ends as it should."""
    with _image(file) as (fd, image):
        memory = AuxiliaryMemory.of(file, read_only=True)
        told = {
            "blocks": image.objects - image.marks,
            "filemarks": image.marks,
            "bytes": image.bytes,
            "file-size": os.fstat(fd).st_size,
            "torn-at": image.torn_at if image.torn else None,
            "barcode": memory.barcode,
            "write-protected": memory.protected,
            "loads": memory.history.loads,
        }
    if as_json:
        click.echo(json.dumps(told))
        return
    click.echo(f"{told['blocks']} blocks and {told['filemarks']} filemarks")
    click.echo(f"{in_words(image.bytes)} to the end of data")
    if memory.barcode:
        click.echo(f"labelled {memory.barcode}")
    if memory.protected:
        click.echo("write-protected")
    if image.torn:
        click.echo(
            f"then {image.torn} bytes of a record that was not written to the end; they are cut "
            "when the tape is attached"
        )


@TAPE.command(context_settings=HELP_NAMES)
@_FILE
@click.option("--barcode", metavar="TEXT", help="Put that on its label: up to 32 characters.")
@click.option("--protect/--unprotect", default=None, help="Let nobody write it, or all again.")
def label(file: Path, barcode: str | None, protect: bool | None) -> None:
    """Write on a tape's label: its barcode, and whether it is write-protected.

    It is kept beside the image, in FILE.mam. A tape that is attached somewhere is left alone.
    """
    with telling_failures(), contents.labelled(file) as memory:
        if barcode is not None:
            memory.label(barcode)
        if protect is not None:
            memory.protected = protect


@TAPE.command("ls", context_settings=HELP_NAMES)
@_FILE
@click.option("--blocks", is_flag=True, help="List each block and filemark.")
@_JSON
def list_(file: Path, blocks: bool, as_json: bool) -> None:
    """List the files of a tape: what is between two filemarks."""
    with _image(file) as (_, image):
        lines = _block_lines(image, as_json) if blocks else _file_lines(image, as_json)
        for line in lines:
            click.echo(line)


def _file_lines(image: TapeImage, as_json: bool) -> Iterator[str]:
    if not as_json:
        yield f"{'file':>5} {'object':>8} {'blocks':>8} {'bytes':>14}  block length"
    for one in contents.files(image):
        if as_json:
            yield json.dumps(asdict(one))
            continue
        lengths = f"{one.shortest}" + (f" to {one.longest}" if one.longest != one.shortest else "")
        notes = [] if one.ended else ["no filemark"]
        notes += [f"{one.bad} with errors"] if one.bad else []
        notes += [f"{one.packed} compressed, to {one.stored} bytes"] if one.packed else []
        yield (
            f"{one.number:>5} {one.first:>8} {one.blocks:>8} {one.bytes:>14}  "
            f"{lengths if one.blocks else '-'}{'  (' + ', '.join(notes) + ')' if notes else ''}"
        )


def _block_lines(image: TapeImage, as_json: bool) -> Iterator[str]:
    for number, found in enumerate(contents.objects(image)):
        if as_json:
            yield json.dumps({"object": number, "block": asdict(found) if found else None})
        elif found is None:
            yield f"{number:>8} filemark"
        else:
            errors = ", with errors" if found.bad else ""
            packed = f", compressed to {found.stored}" if found.packed else ""
            yield f"{number:>8} block of {found.length} bytes{packed}{errors}"


@TAPE.command(context_settings=HELP_NAMES)
@_FILE
def verify(file: Path) -> None:
    """Read a tape from its beginning to its end; exit status 1 where something is wrong.

    Nothing is changed. What is wrong is told with its place.
    """
    with _image(file) as (fd, image):
        bad = damaged = 0
        for found in contents.objects(image):
            if found is None:
                continue
            bad += found.bad
            if found.packed:
                damaged += image.unpack(found) is None
            else:
                # What the host cannot read is told by its error.
                for _ in contents.pieces(fd, image, found):
                    pass
        click.echo(
            f"{image.objects - image.marks} blocks and {image.marks} filemarks in "
            f"{image.bytes} bytes"
        )
        if bad:
            click.echo(f"{bad} blocks were read with errors when the image was made")
        if damaged:
            click.echo(f"{damaged} compressed blocks are damaged")
        if image.torn:
            click.echo(
                f"at byte {image.torn_at} begins a record that was not written to the end: "
                f"{image.torn} bytes"
            )
    if bad or damaged or image.torn:
        sys.exit(REFUSED)


@TAPE.command(context_settings=HELP_NAMES)
@_FILE
@click.argument("number", type=click.IntRange(min=0))
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Write there, instead of standard output. A file that is there is written over.",
)
def export(file: Path, number: int, output: Path | None) -> None:
    """Write the data of the tape's file NUMBER, from 0: its blocks one behind the other.

    \b
    Example:
      vhost-pvscsi tape export backup.tap 0 | tar -tf -
    """  # noqa: D301 -- \b is click's
    with _image(file) as (fd, image):
        wanted = next((one for one in contents.files(image) if one.number == number), None)
        if wanted is None:
            raise DeviceError(
                f"{file}: there is no file {number}", hint="vhost-pvscsi tape ls lists them"
            )
        try:
            with contextlib.ExitStack() as stack:
                sink: BinaryIO = sys.stdout.buffer
                if output is not None:
                    sink = stack.enter_context(output.open("wb"))
                _copy(fd, image, wanted, sink)
        except OSError as error:
            raise DeviceError(f"{output or 'standard output'}: {error.strerror}") from error


def _copy(fd: int, image: TapeImage, wanted: contents.TapeFile, sink: BinaryIO) -> None:
    for found in contents.objects(image, wanted.first):
        if found is None:
            break
        sink.writelines(contents.pieces(fd, image, found))
    sink.flush()
