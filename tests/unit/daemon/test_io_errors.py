"""IO_ERROR: when it is told, and when nobody looks any more."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from vhost_pvscsi.daemon.control.publisher import Publisher
from vhost_pvscsi.daemon.io_errors import IoErrors
from vhost_pvscsi.engine import Failures
from vhost_pvscsi.identity import Address
from vhost_pvscsi.scsi.opcodes import MEDIUM_OPCODES, TAPE_OPCODES

if TYPE_CHECKING:
    from vhost_pvscsi.adapter import Adapter

LUN = Address(0, 0, 1, 0)
DEADLINE = 10.0


class Failing:
    """The part of an adapter that is asked: counts that wait to be taken."""

    def __init__(self, *counts: int) -> None:
        self.counts = list(counts)
        self.quiet = asyncio.Event()  #: it was asked, and had nothing

    def take_failures(self, _mapping: int) -> tuple[Address, Failures, frozenset[int]] | None:
        if not self.counts:
            self.quiet.set()
            return None
        return LUN, Failures(self.counts.pop(0), 0x28, 5), MEDIUM_OPCODES


def watching() -> tuple[IoErrors, list[dict[str, Any]]]:
    publisher, heard = Publisher(), list[dict[str, Any]]()
    publisher.listen(heard.append)
    return IoErrors(publisher, pause=0.001), heard


async def begin(errors: IoErrors, adapter: Failing) -> None:
    errors.begin(cast("Adapter", adapter), 7)
    async with asyncio.timeout(DEADLINE):
        await adapter.quiet.wait()


async def test_it_is_told_until_a_pause_has_none() -> None:
    errors, heard = watching()
    await begin(errors, Failing(1, 250, 3))
    assert [event["data"]["count"] for event in heard] == [1, 250, 3]
    assert heard[0]["data"] == {
        "vdev": "0:0:1:0",
        "count": 1,
        "opcode": 0x28,
        "command": "READ(10)",
        "errno": "EIO",
    }


async def test_it_begins_anew_after_a_quiet_pause() -> None:
    errors, heard = watching()
    await begin(errors, Failing(1))
    await begin(errors, Failing(2))
    assert [event["data"]["count"] for event in heard] == [1, 2]


async def test_a_lun_that_is_looked_at_is_not_told_of_twice() -> None:
    errors, heard = watching()
    adapter = Failing(1, 2)
    errors.begin(cast("Adapter", adapter), 7)
    errors.begin(cast("Adapter", adapter), 7)
    assert [event["data"]["count"] for event in heard] == [1]
    async with asyncio.timeout(DEADLINE):
        await adapter.quiet.wait()
    assert [event["data"]["count"] for event in heard] == [1, 2]


async def test_what_has_no_name_is_told_by_number() -> None:
    errors, heard = watching()
    adapter = Failing()
    adapter.take_failures = lambda _: (
        None if heard else (LUN, Failures(1, 0xC1, 9999), MEDIUM_OPCODES)
    )  # type: ignore[method-assign]
    errors.begin(cast("Adapter", adapter), 7)
    assert (heard[0]["data"]["command"], heard[0]["data"]["errno"]) == ("C1h", "9999")


async def test_a_tape_s_commands_have_their_own_names() -> None:
    errors, heard = watching()
    adapter = Failing()
    adapter.take_failures = lambda _: None if heard else (LUN, Failures(1, 0x91, 5), TAPE_OPCODES)  # type: ignore[method-assign]
    errors.begin(cast("Adapter", adapter), 7)
    assert heard[0]["data"]["command"] == "SPACE(16)"
