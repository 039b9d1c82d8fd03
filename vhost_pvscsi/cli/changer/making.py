"""Makes a library: a folder with changer.toml and empty tapes."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vhost_pvscsi.devices.changer.folder import SUFFIX
from vhost_pvscsi.devices.changer.settings import NAME, check_barcode, read_settings, settings_of
from vhost_pvscsi.devices.tape.description import parse_capacity
from vhost_pvscsi.errors import ConfigurationError, DeviceError
from vhost_pvscsi.identity import Address

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Wanted:
    """What changer.toml is to say."""

    slots: int
    import_export: int
    drives: tuple[str, ...] = ()
    capacity: str | None = None

    def check(self) -> None:
        """Check what a person has typed.

        Raises:
            ConfigurationError: a drive is no address, or the capacity no size.
        """
        settings_of({"drives": tuple(Address.parse(text) for text in self.drives)})
        if self.capacity is not None:
            parse_capacity("--capacity", self.capacity)

    def text(self) -> str:
        """Make the file."""
        drives = ", ".join(f'"{text}"' for text in self.drives)
        lines = [
            f"slots = {self.slots}",
            f"import-export = {self.import_export}",
            f"drives = [{drives}]",
        ]
        if self.capacity is not None:
            lines.append(f'capacity = "{self.capacity}"')
        return "\n".join(lines) + "\n"


def barcodes(first: str, count: int) -> list[str]:
    """Count barcodes on from the first one.

    Raises:
        ConfigurationError: it is no barcode, does not end with digits, or they are too few.
    """
    match = re.fullmatch(r"(.*?)([0-9]+)", first, re.ASCII)
    check_barcode("--first", first)
    if match is None or "/" in first:
        raise ConfigurationError(
            f"--first: {first!r} cannot be counted on from", hint="it ends with digits: V00001"
        )
    prefix, digits = match[1], match[2]
    last = int(digits) + count - 1
    if len(str(last)) > len(digits):
        raise ConfigurationError(
            f"--first: {first!r} has not the digits for {count} tapes",
            hint=f"{prefix}{digits.rjust(len(str(last)), '0')}",
        )
    return [f"{prefix}{int(digits) + number:0{len(digits)}}" for number in range(count)]


def make(folder: Path, wanted: Wanted, tapes: list[str]) -> None:
    """Make the folder and what is in it; a tape that is there is left as it is.

    Raises:
        ConfigurationError: what is wanted cannot be.
        DeviceError: there is a library already, or it cannot be made.
    """
    wanted.check()
    if len(tapes) > wanted.slots:
        raise ConfigurationError(
            f"{len(tapes)} tapes do not lie in {wanted.slots} slots",
            hint=f"--slots {len(tapes)}, or more",
        )
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / NAME).open("x", encoding="utf-8") as file:
            file.write(wanted.text())
        for name in tapes:
            os.close(os.open(folder / (name + SUFFIX), flags, 0o666))
    except FileExistsError as error:
        raise DeviceError(
            f"{error.filename}: is there already", hint="edit it, or name another folder"
        ) from error
    except OSError as error:
        raise DeviceError(f"{error.filename or folder}: {error.strerror}") from error
    # What was written is what the daemon will read.
    read_settings(folder)
