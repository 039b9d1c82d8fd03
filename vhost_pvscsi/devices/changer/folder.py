"""A changer's folder: its images, and the file that says what lies where.

elements.json is replaced whole, and on stable storage before a guest is answered: after a crash
there is what was before the move, or what is after it.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from typing import TYPE_CHECKING, Any

from vhost_pvscsi.errors import ConfigurationError, DeviceBusyError, DeviceError
from vhost_pvscsi.scsi.medium_changer import ElementType
from vhost_pvscsi.state import read_file, replace_file

from .contents import Contents, Lying
from .layout import Layout, parse_element
from .settings import check_barcode

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Mapping
    from pathlib import Path

    from .settings import ChangerSettings

log = logging.getLogger(__name__)

#: What lies where, and its layout; another number is a later version's.
NAME, VERSION = "elements.json", 1
SUFFIX = ".tap"
_LOCK = ".lock"
_MAX_FILE = 64 << 20


def open_folder(folder: Path, held: contextlib.ExitStack) -> None:
    """Have a changer's folder to oneself until `held` is closed.

    Raises:
        DeviceError: it is not there, or cannot be written to.
        DeviceBusyError: another daemon, or another LUN, has it.
    """
    if not folder.is_dir():
        raise DeviceError(
            f"changer:{folder}: is no folder",
            hint=f"make a changer with: vhost-pvscsi changer create {folder}",
        )
    try:
        fd = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DeviceError(
            f"changer:{folder}: {error.strerror}", hint="a folder that can be written to"
        ) from error
    held.callback(os.close, fd)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise DeviceBusyError(
            f"changer:{folder}: another daemon or another LUN has it",
            hint="share=on gives several LUNs of ours one changer",
        ) from error


class Folder:
    """The images of a changer and what lies where, in files; on threads that may wait."""

    def __init__(self, path: Path, settings: ChangerSettings) -> None:
        self.path = path
        self.settings = settings

    def barcode(self, file: str) -> str:
        """What a cartridge is called."""
        return self.settings.barcodes.get(file, file.removesuffix(SUFFIX))

    def is_there(self, file: str) -> bool:
        """Whether a cartridge's image is."""
        return (self.path / file).is_file()

    def images(self) -> list[str]:
        """The images that are there, by name.

        Raises:
            DeviceError: the folder cannot be read.
            ConfigurationError: one has no name that a barcode can be, or two have one barcode.
        """
        try:
            found = sorted(one.name for one in self.path.iterdir() if one.suffix == SUFFIX)
        except OSError as error:
            raise DeviceError(f"changer:{self.path}: {error.strerror}") from error
        known: dict[str, str] = {}
        for file in found:
            barcode = check_barcode(f"{self.path / file}", self.barcode(file))
            if barcode in known:
                raise ConfigurationError(
                    f"changer:{self.path}: {known[barcode]} and {file} have one barcode, "
                    f"{barcode!r}",
                    hint="each cartridge has its own: its file's name, or [barcodes] in"
                    " changer.toml",
                )
            known[barcode] = file
        return found

    def load(self) -> Contents:
        """What lies where: as it was kept, without images that have gone, and with new ones.

        An image that is new lies in the first empty slot.

        Raises:
            DeviceError: what was kept, or the folder, cannot be read.
            ConfigurationError: as `images`.
        """
        images = self.images()
        kept, homeless = self._kept()
        for address, one in list(kept.lying.items()):
            if one.file not in images:
                self.tell_vanished(address, one)
                kept = kept.without(address)
        shelf = kept.shelf & set(images)
        now = Contents(kept.lying, shelf)
        slots = self.settings.layout.ranges[ElementType.STORAGE]
        known = {one.file for one in now.lying.values()} | shelf
        for file in (*homeless, *images):
            if file in known or file not in images:
                continue
            known.add(file)
            slot = now.empty(slots)
            if slot is None:
                log.warning(
                    "changer:%s: there is no slot for %s: it lies on the shelf", self.path, file
                )
                now = Contents(now.lying, now.shelf | {file})
            else:
                now = now.with_lying(slot, Lying(file))
        return now

    def tell_vanished(self, address: int, one: Lying) -> None:
        """Say that the image of a cartridge has gone."""
        log.warning(
            "changer:%s: %s, that lay in %s, is not there any more",
            self.path,
            one.file,
            self.settings.layout.name(address),
        )

    def keep(self, contents: Contents) -> None:
        """Keep what lies where; on stable storage on return.

        Raises:
            OSError: it could not be written; what was kept before is kept still.
        """
        layout = self.settings.layout
        elements = {
            layout.name(address): {
                "file": one.file,
                "source": layout.name(one.source) if one.source is not None else None,
                "by-operator": one.by_operator,
            }
            for address, one in sorted(contents.lying.items())
        }
        document = {"version": VERSION, "elements": elements, "shelf": sorted(contents.shelf)}
        replace_file(self.path / NAME, json.dumps(document, indent=1).encode() + b"\n")

    def _kept(self) -> tuple[Contents, list[str]]:
        """What was kept, and cartridges whose element is not there any more."""
        path = self.path / NAME
        text = read_file(path, _MAX_FILE)
        if text is None:
            return Contents(), []
        try:
            return _parsed(self.settings.layout, json.loads(text))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DeviceError(
                f"{path}: does not say what lies where: {error!r}",
                hint="move it away, and cartridges lie in slots by their names",
            ) from error


def _parsed(layout: Layout, held: Mapping[str, Any]) -> tuple[Contents, list[str]]:
    if held["version"] != VERSION:
        raise ValueError(f"version {held['version']!r}")
    lying: dict[int, Lying] = {}
    homeless = []
    files = set()
    for name, one in held["elements"].items():
        file, source = str(one["file"]), one["source"]
        if file in files:
            raise ValueError(f"{file} lies in two elements")
        files.add(file)
        address = _address(layout, name)
        if address is None:
            homeless.append(file)
            continue
        known = _address(layout, source) if isinstance(source, str) else None
        lying[address] = Lying(file, known, bool(one["by-operator"]))
    return Contents(lying, frozenset(map(str, held["shelf"])) - files), homeless


def _address(layout: Layout, name: str) -> int | None:
    """An element of that name; None: there is none any more."""
    if parse_element(name) is None:
        raise ValueError(f"{name!r} is no element")
    try:
        return layout.parse(name)
    except ConfigurationError:
        return None
