"""Where rules have attached devices, so that each has its address again; over restarts, too."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from typing import TYPE_CHECKING

from vhost_pvscsi.discovery.device import Identity
from vhost_pvscsi.errors import AddressError
from vhost_pvscsi.identity import Address
from vhost_pvscsi.state import replace_file

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

VERSION = 1
NAME = "places.json"
#: Devices that are remembered; of more, those that came last.
MOST = 4096
#: Largest file that is read, in bytes.
MAX_FILE = 8 << 20


class Places:
    """Keeps them in a folder; with none as long as the daemon runs."""

    def __init__(self, folder: Path | None = None) -> None:
        """Read what is kept; a file that makes no sense is passed over, and overwritten in time."""
        self._path = folder / NAME if folder is not None else None
        self._places = _load(self._path) if self._path is not None else {}

    def find(self, device: Identity | None, vdev: str) -> Address | None:
        """Where a device was that the same template attached; None: nowhere that is known."""
        address, template = self._places.get(device, (None, "")) if device else (None, "")
        return address if template == vdev else None

    def remember(self, device: Identity | None, address: Address, vdev: str) -> None:
        """Remember where a device is. What cannot be kept is logged: it is there all the same."""
        if device is None or self._places.get(device) == (address, vdev):
            return
        self._places.pop(device, None)
        self._places[device] = address, vdev
        for oldest in list(self._places)[:-MOST]:
            del self._places[oldest]
        if self._path is None:
            return
        kept = [
            {"device": asdict(one), "vdev": str(at), "template": template}
            for one, (at, template) in self._places.items()
        ]
        text = json.dumps({"version": VERSION, "places": kept})
        try:
            replace_file(self._path, text.encode() + b"\n")
        except OSError as error:
            log.error("%s: where a device is attached is not kept: %s", self._path, error.strerror)  # noqa: TRY400


def _load(path: Path) -> dict[Identity, tuple[Address, str]]:
    try:
        with path.open("rb") as file:
            held = json.loads(file.read(MAX_FILE))
        if held["version"] != VERSION:
            log.warning("%s: is of version %r, and passed over", path, held["version"])
            return {}
        return {
            Identity(**one["device"]): (Address.parse(one["vdev"]), str(one["template"]))
            for one in held["places"]
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, RecursionError, AddressError) as error:
        log.warning("%s: cannot be read, and is passed over: %s", path, error)
        return {}
