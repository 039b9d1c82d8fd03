"""What is refused: answers, numbers, and who is told how often."""

import logging

import pytest

from vhost_pvscsi.denials import Denials
from vhost_pvscsi.devices.absent import AbsentUnit
from vhost_pvscsi.devices.policy.policy import Policy
from vhost_pvscsi.devices.presentation import Presentation
from vhost_pvscsi.identity import Address
from vhost_pvscsi.repeats import PAUSE
from vhost_pvscsi.scsi.pages import DeviceType
from vhost_pvscsi.scsi.request import Request
from vhost_pvscsi.translation import Table


class Forwarded(AbsentUnit):
    name = "/dev/sg0"
    forwarded_as = DeviceType.DISK


@pytest.fixture
def rig():
    return Rig()


class Rig:
    def __init__(self):
        self.now = 0.0
        self.told = []
        self.denials = Denials(self.told.append, lambda: self.now)
        shown = Presentation(policy=Policy(denied=frozenset({(0x2A, None), (0xA3, 0x0A)})))
        table = Table(0).attach(Address(0, 0, 0, 0), AbsentUnit(), 1, shown)
        self.table = table.attach(Address(0, 0, 1, 0), Forwarded(), 2)

    def ask(self, cdb, target=0):
        raw = bytes.fromhex(cdb).ljust(16, b"\0")
        request = Request(nexus="a", target=target, lun=0, cdb=raw)
        return self.denials.check(request, self.table.resolve(target, 0))


def test_what_is_allowed_goes_on(rig):
    assert rig.ask("28") is None
    assert rig.ask("a30c") is None
    assert rig.denials.count(1) == 0
    assert not rig.told


def test_an_operation_code_and_a_service_action_are_refused_as_unknown_ones(rig):
    assert rig.ask("2a").sense[12:14].hex() == "2000"
    reply = rig.ask("a30a")
    assert reply.sense[12:14].hex() == "2400"
    assert reply.sense[15:18].hex() == "cc0001"  # byte 1, bit 4: the service action
    assert rig.denials.count(1) == 2


def test_a_forwarded_unit_has_the_default_of_its_type(rig):
    assert rig.ask("85", target=1).sense[12:14].hex() == "2000"
    assert rig.told[0].rule == "default of type disk"
    assert (rig.told[0].command, rig.told[0].address) == ("0x85", Address(0, 0, 1, 0))
    assert rig.ask("28", target=1) is None


def test_each_operation_code_is_told_once_in_a_while(rig, caplog):
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            rig.ask("2a")
        rig.ask("a30a")
        rig.now = PAUSE
        rig.ask("2a")
    assert [(one.command, one.unsaid) for one in rig.told] == [
        ("write-10", 0),
        ("report-target-port-groups", 0),
        ("write-10", 4),
    ]
    assert "0:0:0:0 (no unit): command write-10 (2Ah) refused: deny=write-10" in caplog.text
    assert "4 more since the last line" in caplog.text
    assert rig.denials.count(1) == 7


def test_a_mapping_that_is_gone_is_forgotten(rig):
    rig.ask("2a")
    rig.denials.forget(1)
    assert rig.denials.count(1) == 0
    rig.ask("2a")
    assert len(rig.told) == 2
