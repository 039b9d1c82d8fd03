"""The auxiliary memory of a cartridge, MAM: a small file beside its image, which can be lost.

What hosts wrote into it, what the cartridge has been through, whether it is write-protected. The
file is JSON, and replaced whole. Where a tape is attached with `ro` nothing is kept.
"""

from __future__ import annotations

import json
import logging
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vhost_pvscsi.errors import ConfigurationError
from vhost_pvscsi.scsi.attributes import (
    MOST_VALUE,
    Attribute,
    Format,
    Id,
    ascii_text,
    writable,
)
from vhost_pvscsi.state import replace_file

if TYPE_CHECKING:
    from pathlib import Path

    from vhost_pvscsi.medium import TapeStanding

log = logging.getLogger(__name__)

#: What is put behind an image's name to have this file's.
SUFFIX = ".mam"
VERSION = 1
#: Bytes of what hosts may keep, as in lists of attributes; and of a file that is read.
CAPACITY, _MAX_FILE = 16 << 10, 1 << 20
#: What of a history is a number.
_COUNTS = (
    "loads",
    "written",
    "read",
    "blocks_written",
    "blocks_read",
    "write_errors",
    "read_errors",
    "alerts",
)
#: Drives that are remembered.
_DRIVES = 4


def check_barcode(barcode: str) -> str:
    """Check what a cartridge is called: what both MAM and a volume tag of a changer can say.

    Raises:
        ConfigurationError: it is no barcode.
    """
    if not re.fullmatch(r"[!-~]{1,32}", barcode, re.ASCII):
        raise ConfigurationError(
            f"{barcode[:60]!r} is no barcode",
            hint="1 to 32 ASCII characters without blanks, as VT0001L8",
        )
    return barcode


@dataclass(frozen=True, slots=True)
class History:
    """What a cartridge has been through, up to its last load.

    Bytes are those in the image: what is left after any compression (SPC-5 7.4, attribute 0220h).
    """

    loads: int = 0
    written: int = 0
    read: int = 0
    blocks_written: int = 0
    blocks_read: int = 0
    write_errors: int = 0
    read_errors: int = 0
    alerts: int = 0  #: TapeAlert flags of the last load that has ended; the lowest bit is 40h
    drives: tuple[str, ...] = ()  #: serial numbers, the last one first

    def with_load(self, drive: str) -> History:
        """Count a load into a drive."""
        return replace(self, loads=self.loads + 1, drives=(drive, *self.drives)[:_DRIVES])

    def with_work(self, before: TapeStanding, now: TapeStanding) -> History:
        """Add what was done between two looks at the drive."""
        return replace(
            self,
            written=self.written + now.stored_written - before.stored_written,
            read=self.read + now.stored_read - before.stored_read,
            blocks_written=self.blocks_written + now.blocks_written - before.blocks_written,
            blocks_read=self.blocks_read + now.blocks_read - before.blocks_read,
            write_errors=self.write_errors + now.write_errors - before.write_errors,
            read_errors=self.read_errors + now.read_errors - before.read_errors,
        )


class AuxiliaryMemory:
    """What is in the auxiliary memory of one cartridge."""

    def __init__(self, path: Path | None) -> None:
        """Begin with nothing in it; `path` None: nothing is kept."""
        self._path = path
        self.attributes: dict[int, Attribute] = {}
        self.history = History()
        self.protected = False  #: the cartridge may not be written
        self.damaged = False  #: there was something that could not be read

    @classmethod
    def of(cls, image: Path, *, read_only: bool) -> AuxiliaryMemory:
        """Read that of an image; what cannot be read is as good as lost."""
        path = image.with_name(image.name + SUFFIX)
        memory = cls(None if read_only else path)
        try:
            memory._read(path)
        except FileNotFoundError:
            pass
        except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            log.warning("%s: cannot be read, and begun anew: %s", path, error)
            memory = cls(memory._path)
            memory.damaged = True
        return memory

    @property
    def space_remaining(self) -> int:
        """Bytes of attributes that hosts can still write."""
        return CAPACITY - sum(attribute.size for attribute in self.attributes.values())

    @property
    def barcode(self) -> str:
        """What a label on the cartridge says; empty where there is none."""
        found = self.attributes.get(Id.BARCODE)
        return found.value.decode("ascii", "replace").strip() if found else ""

    def label(self, barcode: str) -> None:
        """Put a barcode on the cartridge; `keep` keeps it.

        Raises:
            ConfigurationError: it is no barcode.
        """
        self.attributes[Id.BARCODE] = ascii_text(Id.BARCODE, check_barcode(barcode), 32)

    def keep(self) -> None:
        """Have it on stable storage, on a thread that may wait.

        Raises:
            OSError: it could not be written; what was kept before is kept still.
        """
        if self._path is None:
            return
        past = self.history
        document = {
            "version": VERSION,
            "write-protected": self.protected,
            **{name.replace("_", "-"): getattr(past, name) for name in _COUNTS},
            "drives": list(past.drives),
            "attributes": {
                f"{code:04x}": {"format": one.format.name.lower(), "value": one.value.hex()}
                for code, one in sorted(self.attributes.items())
            },
        }
        replace_file(self._path, json.dumps(document, indent=1).encode())

    def keep_if_possible(self) -> None:
        """Do what `keep` does where the host lets us; where not, the log says so."""
        try:
            self.keep()
        except OSError as error:
            log.warning("%s: not written: %s", self._path, error.strerror)

    def _read(self, path: Path) -> None:
        with path.open("rb") as file:
            document = json.loads(file.read(_MAX_FILE))
        if document["version"] != VERSION:
            msg = f"version {document['version']!r}"
            raise ValueError(msg)
        counts = {name: int(document.get(name.replace("_", "-"), 0)) for name in _COUNTS}
        if min(counts.values()) < 0:
            msg = "a count below 0"
            raise ValueError(msg)
        self.protected = bool(document.get("write-protected", False))
        drives = tuple(str(one) for one in document["drives"])[:_DRIVES]
        self.history = History(drives=drives, **counts)
        for code, one in document["attributes"].items():
            number, value = int(code, 16), bytes.fromhex(one["value"])
            if not writable(number) or not 1 <= len(value) <= MOST_VALUE:
                msg = f"attribute {code}"
                raise ValueError(msg)
            self.attributes[number] = Attribute(number, Format[one["format"].upper()], value)
