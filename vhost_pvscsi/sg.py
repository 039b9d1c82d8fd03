"""A SCSI device of the host, as the engine has it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from . import _engine


class Device:
    """A device that the engine has open; `Engine.add_device` makes it."""

    def __init__(self, handle: _engine.Device) -> None:
        self.handle = handle

    def close(self) -> None:
        """Let go of it: its descriptors are closed when nobody in the engine has it either."""
        del self.handle


@dataclass(frozen=True, slots=True)
class DeviceSpec:
    """What the engine is to know of a device; see `_engine.Engine.add_device`."""

    fd: int  #: its SG node, open for reading and writing
    exclusive: bool  #: one command at a time, ordered by the caller
    passed: bool  #: somebody else has opened it
    depth: int  #: most commands that are outstanding
    max_transfer: int  #: bytes
    block_size: int  #: bytes; 0: READ and WRITE are not cut in pieces
    writes: frozenset[int]  #: operation codes that a protected mapping may not send
    timeout: float  #: seconds
    timeouts: Mapping[int, float] = field(default_factory=dict)  #: by operation code

    def open(self, core: _engine.Engine) -> Device:
        """Open it in the engine.

        Raises:
            DeviceError: it cannot be opened again.
        """
        try:
            handle = core.add_device(
                self.fd,
                exclusive=self.exclusive,
                passed=self.passed,
                depth=self.depth,
                max_transfer=self.max_transfer,
                block_size=self.block_size,
                writes=set(self.writes),
                timeout_ms=round(self.timeout * 1000),
                timeouts_ms={code: round(time * 1000) for code, time in self.timeouts.items()},
            )
        except OSError as error:
            raise DeviceError(error.strerror or str(error)) from error
        return Device(handle)
