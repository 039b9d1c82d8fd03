"""Unit attentions: order, priority, and the gate that is shut first."""

import asyncio

import pytest

from vhost_pvscsi.devices.attention import Attentions
from vhost_pvscsi.scsi import sense


class Watched:
    """Attentions whose changes are recorded with what was pending at that time."""

    def __init__(self):
        self.changes = []
        self.it = Attentions(self._changed)
        self.hold = None  # an event that opening a gate waits for
        self.shut = False
        self.entered = asyncio.Event()

    async def _changed(self, nexus, pending):
        self.changes.append((nexus, pending, self.it.pending(nexus)))
        self.entered.set()
        if self.hold and not pending:
            await self.hold.wait()
        self.shut = pending


@pytest.fixture
async def watched():
    watched = Watched()
    await watched.it.join("a")
    await watched.it.take("a")
    watched.changes.clear()
    return watched


async def test_the_gate_is_shut_before_the_condition_is_pending(watched):
    await watched.it.establish(sense.MODE_PARAMETERS_CHANGED)
    assert watched.changes == [("a", True, ())]


async def test_the_gate_opens_with_the_last_report_only(watched):
    await watched.it.establish(sense.MODE_PARAMETERS_CHANGED)
    await watched.it.establish(sense.CAPACITY_DATA_HAS_CHANGED)
    watched.changes.clear()
    assert await watched.it.take("a") == sense.MODE_PARAMETERS_CHANGED
    assert watched.changes == []
    assert await watched.it.take("a") == sense.CAPACITY_DATA_HAS_CHANGED
    assert watched.changes == [("a", False, ())]
    assert await watched.it.take("a") is None


async def test_a_condition_is_told_once(watched):
    for _ in range(3):
        await watched.it.establish(sense.CAPACITY_DATA_HAS_CHANGED)
    assert watched.it.pending("a") == (sense.CAPACITY_DATA_HAS_CHANGED,)


@pytest.mark.parametrize(
    ("established", "pending"),
    [
        # a bus reset starts over: nothing else is worth telling
        (("CAPACITY_DATA_HAS_CHANGED", "SCSI_BUS_RESET"), ("SCSI_BUS_RESET",)),
        (("SCSI_BUS_RESET", "CAPACITY_DATA_HAS_CHANGED"), ("SCSI_BUS_RESET",)),
        # lesser resets come first, and take nothing away
        (
            ("CAPACITY_DATA_HAS_CHANGED", "BUS_DEVICE_RESET"),
            ("BUS_DEVICE_RESET", "CAPACITY_DATA_HAS_CHANGED"),
        ),
        # of two resets the severer is told
        (("POWER_ON", "BUS_DEVICE_RESET"), ("POWER_ON",)),
        (("I_T_NEXUS_LOSS", "BUS_DEVICE_RESET"), ("BUS_DEVICE_RESET",)),
        (("BUS_DEVICE_RESET", "POWER_ON"), ("POWER_ON",)),
    ],
)
async def test_priorities(watched, established, pending):
    for name in established:
        await watched.it.establish(getattr(sense, name))
    assert watched.it.pending("a") == tuple(getattr(sense, name) for name in pending)


async def test_one_nexus_all_but_one_and_strangers(watched):
    await watched.it.join("b")
    await watched.it.take("b")
    await watched.it.establish(sense.MODE_PARAMETERS_CHANGED, but="a")
    assert watched.it.pending("a") == ()
    assert watched.it.pending("b") == (sense.MODE_PARAMETERS_CHANGED,)
    await watched.it.establish(sense.MODE_PARAMETERS_CHANGED, nexus="nobody")
    assert watched.it.pending("nobody") == ()
    watched.it.leave("b")
    assert await watched.it.take("b") is None


async def test_a_report_cannot_open_the_gate_that_a_new_condition_is_shutting(watched):
    await watched.it.establish(sense.MODE_PARAMETERS_CHANGED)
    watched.hold = asyncio.Event()
    watched.entered.clear()
    report = asyncio.create_task(watched.it.take("a"))
    # The report is opening the gate: it has taken the last condition.
    await asyncio.wait_for(watched.entered.wait(), 5)
    establish = asyncio.create_task(watched.it.establish(sense.CAPACITY_DATA_HAS_CHANGED))
    # Scheduled after `establish`, so that both are under way when the report goes on.
    asyncio.get_running_loop().call_soon(watched.hold.set)
    await asyncio.gather(report, establish)
    assert watched.shut
    assert watched.it.pending("a") == (sense.CAPACITY_DATA_HAS_CHANGED,)


async def test_two_reports_of_one_condition_give_it_once(watched):
    await watched.it.establish(sense.MODE_PARAMETERS_CHANGED)
    taken = await asyncio.gather(watched.it.take("a"), watched.it.take("a"))
    assert sorted(map(str, taken)) == ["6h/2Ah/01h", "None"]


async def test_clear_drops_one_condition(watched):
    await watched.it.establish(sense.REPORTED_LUNS_DATA_HAS_CHANGED)
    await watched.it.clear("a", sense.MODE_PARAMETERS_CHANGED)
    assert watched.it.pending("a") == (sense.REPORTED_LUNS_DATA_HAS_CHANGED,)
    await watched.it.clear("a", sense.REPORTED_LUNS_DATA_HAS_CHANGED)
    assert watched.changes[-1] == ("a", False, ())


@pytest.mark.parametrize(
    ("established", "told"),
    [
        (("CAPACITY_DATA_HAS_CHANGED",) * 2, ("CAPACITY_DATA_HAS_CHANGED",)),
        (("POWER_ON", "CAPACITY_DATA_HAS_CHANGED"), ("POWER_ON",)),
        (("SCSI_BUS_RESET", "BUS_DEVICE_RESET"), ("SCSI_BUS_RESET",)),
        (("BUS_DEVICE_RESET",) * 2, ("BUS_DEVICE_RESET",)),
        (("BUS_DEVICE_RESET", "POWER_ON"), ("BUS_DEVICE_RESET", "POWER_ON")),
    ],
)
async def test_watchers_hear_of_what_becomes_pending_and_of_what_is_reported(
    watched, established, told
):
    heard = []
    unwatch = watched.it.watch("a", lambda code, begins: heard.append((code, begins)))
    for name in established:
        await watched.it.establish(getattr(sense, name))
    begun = [(getattr(sense, name), True) for name in told]
    assert heard == begun
    reported = await watched.it.take("a")
    assert heard == [*begun, (reported, False)]
    unwatch()
    await watched.it.take("a")
    await watched.it.establish(sense.MODE_PARAMETERS_CHANGED)
    assert heard == [*begun, (reported, False)]


async def test_watchers_hear_of_what_has_become_needless(watched):
    await watched.it.take("a")
    heard = []
    watched.it.watch("a", lambda code, begins: heard.append((code, begins)))
    code = sense.REPORTED_LUNS_DATA_HAS_CHANGED
    await watched.it.establish(code, nexus="a")
    await watched.it.clear("a", code)
    await watched.it.clear("a", code)
    assert heard == [(code, True), (code, False)]
