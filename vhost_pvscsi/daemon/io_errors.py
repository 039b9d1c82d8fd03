"""IO_ERROR: commands of a LUN that the host could not carry out, told once a second at most.

A worker answers such a command by itself, as it answers all of the medium's. It counts it at the
mapping (`engine/core/src/failures.rs`) and tells Python of the first one only; from then on we
look once a second, until a second has passed without. So a disk that fails each of its commands
costs the short road two atomics each, and one that works costs nobody anything.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from typing import TYPE_CHECKING

from vhost_pvscsi.scsi.opcodes import medium_command_name

if TYPE_CHECKING:
    from vhost_pvscsi.adapter import Adapter
    from vhost_pvscsi.engine import Failures
    from vhost_pvscsi.identity import Address

    from .control.publisher import Publisher

log = logging.getLogger(__name__)

#: Between two events of a LUN, in seconds.
PAUSE = 1.0


class IoErrors:
    """Tells clients of the control socket, and the log."""

    def __init__(self, publisher: Publisher, pause: float = PAUSE) -> None:
        self._publisher = publisher
        self._pause = pause
        self._watched: set[int] = set()  #: mappings; their ids are the engine's, of all hosts

    def begin(self, adapter: Adapter, mapping: int) -> None:
        """Tell of what has failed at a mapping, and go on until nothing more does."""
        if mapping not in self._watched:
            self._watched.add(mapping)
            self._tell(adapter, mapping)

    def _tell(self, adapter: Adapter, mapping: int) -> None:
        taken = adapter.take_failures(mapping)
        if taken is None:
            self._watched.discard(mapping)
            return
        self._publish(*taken)
        asyncio.get_running_loop().call_later(self._pause, self._tell, adapter, mapping)

    def _publish(self, address: Address, failures: Failures, opcodes: frozenset[int]) -> None:
        name = medium_command_name(failures.opcode, opcodes)
        number = failures.errno
        log.warning(
            "%s: %d commands failed on the host, the last one %s: %s",
            address,
            failures.count,
            name,
            os.strerror(number),
        )
        self._publisher.publish(
            "IO_ERROR",
            vdev=str(address),
            count=failures.count,
            opcode=failures.opcode,
            command=name,
            errno=errno.errorcode.get(number, str(number)),
        )
