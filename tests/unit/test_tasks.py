"""Task management where a command does not end in time."""

import asyncio

import pytest

from vhost_pvscsi import tasks
from vhost_pvscsi.devices.absent import AbsentUnit
from vhost_pvscsi.identity import Address
from vhost_pvscsi.scsi.pages import DeviceType
from vhost_pvscsi.scsi.request import ManagementOutcome, TaskFunction, TaskManagement
from vhost_pvscsi.tasks import Attachment, Tasks
from vhost_pvscsi.translation import Table

ADDRESS = Address(0, 0, 1, 0)


class Unit(AbsentUnit):
    """A unit that notes whether it was reset."""

    def __init__(self, forwarded_as):
        self.forwarded_as = forwarded_as
        self.resets = 0

    async def reset_device(self):
        pass

    async def reset(self):
        self.resets += 1


class Host:
    """The engine's half of a virtual host whose commands never end."""

    nexus = "host0"

    def __init__(self):
        self.shut = []

    async def abort(self, service, *, target=-1, lun=-1, tag=-1):
        await asyncio.Event().wait()

    def gate(self, mapping):
        return Gate(self.shut)


class Gate:
    """A mapping's gate, which notes why it was shut."""

    def __init__(self, reasons):
        self.shut = reasons.append


def made(unit, monkeypatch):
    monkeypatch.setattr(tasks, "TMF_DEADLINE", 0.01)
    host = Host()
    table = Table(0).attach(ADDRESS, unit, 7)
    here = Tasks(host, table, lambda _: [(Peer(one), ADDRESS) for one in (here,)])
    here.attached[7] = Attachment(7, ADDRESS, unit, None, lambda: None)
    return here, host


class Peer:
    """This host, as a unit's other hosts see it."""

    def __init__(self, here):
        self.here = here

    async def abort_unit(self, address, service):
        return await self.here.abort(self.here.attached[7], service)


@pytest.mark.parametrize(
    "function",
    [TaskFunction.ABORT_TASK, TaskFunction.ABORT_TASK_SET, TaskFunction.LOGICAL_UNIT_RESET],
)
async def test_a_device_that_is_still_at_work_rejects_the_function(monkeypatch, function):
    unit = Unit(DeviceType.TAPE)
    here, host = made(unit, monkeypatch)
    outcome = await here.manage(TaskManagement(function, 1, 0, 5))
    assert outcome is ManagementOutcome.REJECTED
    # The LUN stays in service, and nobody is told of a reset that was none.
    assert (here.offline, host.shut, unit.resets) == (set(), [], 0)


async def test_a_unit_of_ours_whose_command_does_not_end_goes_offline(monkeypatch):
    here, host = made(Unit(None), monkeypatch)
    outcome = await here.manage(TaskManagement(TaskFunction.ABORT_TASK, 1, 0, 5))
    assert outcome is ManagementOutcome.FAILED
    assert here.offline == {7}
    assert len(host.shut) == 1
