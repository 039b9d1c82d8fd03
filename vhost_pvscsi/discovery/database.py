"""What udev knows of devices, where there is one: links, and names that are in no file of sysfs."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .facts import Facts

#: Where udevd keeps its database; libudev reads it, and so may containers that are given it.
DATABASE = Path("/run/udev/data")


class Database:
    """udev's database; empty where there is none, or no libudev to read it."""

    def __init__(self, database: Path = DATABASE) -> None:
        self._udev: Any = None
        if database.is_dir():
            # Loads libudev when it is asked for, and not before: ImportError where there is none.
            with contextlib.suppress(ImportError):
                import pyudev  # noqa: PLC0415

                self._udev = (pyudev.Context(), pyudev)

    def complete(self, facts: Facts) -> Facts:
        """Add what it has on a device to what sysfs told."""
        if self._udev is None:
            return facts
        context, pyudev = self._udev
        properties: dict[str, str] = {}
        links: set[str] = set()
        for number in facts.numbers:
            kind = "block" if number.startswith("b") else "char"
            major, _, minor = number[1:].partition(":")
            try:
                device = pyudev.Devices.from_device_number(
                    context, kind, os.makedev(int(major), int(minor))
                )
                told = dict(device.properties)
            except (pyudev.DeviceNotFoundError, ValueError, OSError):
                continue
            if told.get("DEVTYPE") == "partition":
                continue
            properties = {**told, **properties}
            links |= set(told.get("DEVLINKS", "").split())
        return replace(facts, properties=properties, links=sorted(links))
