"""Following: what LUNs do when devices go, come back and are new."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.harness.host_devices import tape
from vhost_pvscsi.daemon.announcements import Announcements
from vhost_pvscsi.daemon.changes import Changes
from vhost_pvscsi.daemon.control.publisher import Publisher
from vhost_pvscsi.daemon.following import follower
from vhost_pvscsi.daemon.following.follower import Follower
from vhost_pvscsi.daemon.following.places import Places
from vhost_pvscsi.daemon.following.rules import Rule
from vhost_pvscsi.daemon.plan import Plan, plan_host, plan_lun
from vhost_pvscsi.daemon.roster import Missing, Roster
from vhost_pvscsi.discovery.device import MULTIPATH
from vhost_pvscsi.discovery.resolve import find
from vhost_pvscsi.errors import DeviceError
from vhost_pvscsi.identity import Address
from vhost_pvscsi.state import Store

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from vhost_pvscsi.devices.pdev import LunSpec
    from vhost_pvscsi.discovery.device import HostDevice

A, B = Address(0, 0, 1, 0), Address(0, 0, 2, 0)
WWN, OTHER = "5000c50015ea71ac", "5000c50015ea71ad"
TAPE = tape("1:0:0:0", 10, wwn=WWN)


class One:
    """Satisfies `Forwarded`, as far as following goes."""

    def __init__(self, device: HostDevice) -> None:
        self.device = device
        self.lost = False
        self.name = "the unit's name"
        self.refuses = False
        self.tried = 0

    @property
    def unit(self) -> One:
        return self

    @property
    def node(self) -> str | None:
        return None if self.lost else self.device.nodes.sg

    async def lose(self) -> None:
        self.lost = True

    def replace(self, device: HostDevice) -> None:
        self.tried += 1
        if self.refuses:
            raise DeviceError(f"{device.nodes.sg}: Permission denied")
        self.device, self.lost = device, False


class Shelf:
    """Satisfies what is needed of `Inventory`: a unit for each device, at some addresses."""

    def __init__(self, there: list[HostDevice]) -> None:
        self.there = there
        self.at: dict[Address, One] = {}
        self.hosts = ()

    def forwarded(self) -> tuple[One, ...]:
        return tuple(dict.fromkeys(self.at.values()))

    def backed(self) -> tuple[()]:
        return ()

    def places(self, one: One) -> list[Address]:
        return sorted(address for address, each in self.at.items() if each is one)

    def unit_at(self, address: Address) -> Any:
        return self.at[address].unit

    async def attach_lun(
        self, spec: LunSpec, device: HostDevice | None = None, *, passed: int | None = None
    ) -> None:
        assert spec.device is not None
        assert passed is None
        device = device or find(spec.device, self.there)
        shared = next((one for one in self.forwarded() if one.device == device), None)
        self.at[spec.address] = shared or One(device)

    async def replace(self, one: One, device: HostDevice) -> None:
        one.replace(device)

    async def detach(self, address: Address, *, force: bool, patience: float) -> None:
        del self.at[address]


class Watched:
    """A follower that looks when it is told to, at devices that there are."""

    def __init__(
        self,
        *rules: Rule,
        there: tuple[HostDevice, ...] = (TAPE,),
        folder: Path | None = None,
    ) -> None:
        self.there = list(there)
        host = plan_host(0, {"socket-path": "/0"})
        self.roster = Roster(Plan({0: host}, {}, rules), Store(None))
        self.roster.hosts[0] = host
        self.shelf: Any = Shelf(self.there)
        publisher, self.heard = Publisher(), list[dict[str, Any]]()
        publisher.listen(
            lambda event: self.heard.append({"event": event["event"], **event["data"]})
        )
        self.changes = Changes(self.shelf, self.roster, publisher, Announcements(publisher))
        self.follower = Follower(
            self.shelf,
            self.roster,
            self.changes,
            publisher,
            lambda: list(self.there),
            Places(folder),
        )

    async def attach(self, address: Address, text: str) -> None:
        await self.changes.attach_lun(plan_lun(address, text, Path("/")))
        self.heard.clear()

    async def look(self, *there: HostDevice) -> None:
        self.there[:] = there
        await self.follower.look()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 -- the follower's task makes it so
                await asyncio.sleep(0.01)

    def said(self) -> list[str]:
        said = [
            f"{one['event']} {one['vdev']} {one.get('device', '')}".strip() for one in self.heard
        ]
        self.heard.clear()
        return said


async def test_a_lun_stays_offline_until_its_device_is_back_elsewhere() -> None:
    watched = Watched()
    await watched.attach(A, f"wwn:{WWN}")
    unit = watched.shelf.at[A].unit
    await watched.look()
    assert watched.said() == [f"DEVICE_LOST {A} 1:0:0:0"]
    assert unit.node is None
    await watched.look()
    assert watched.said() == []
    back = tape("7:0:3:0", 20, wwn=WWN, sg=4)
    await watched.look(back)
    assert watched.said() == [f"DEVICE_RETURNED {A} 7:0:3:0"]
    assert unit.node == "/dev/sg4"
    assert watched.shelf.at[A].unit is unit
    await watched.look(back)
    assert watched.said() == []


async def test_a_multipath_device_is_not_followed() -> None:
    watched = Watched()
    await watched.attach(A, f"wwn:{WWN}")
    one = watched.shelf.at[A]
    one.device = dataclasses.replace(TAPE, address=None, type=MULTIPATH)
    await watched.look()
    assert watched.said() == []
    assert not one.lost


async def test_a_lun_is_removed_and_comes_with_its_device() -> None:
    watched = Watched()
    await watched.attach(A, "1:0:0:0,on-loss=remove")
    await watched.look()
    assert watched.said() == [f"DEVICE_LOST {A} 1:0:0:0", f"LUN_DETACHED {A}"]
    assert watched.shelf.at == {}
    assert "has gone" in watched.roster.missing[A].problem
    # Its PDEV means nothing there: it is recognised by what it is.
    await watched.look(tape("7:0:3:0", 20, wwn=WWN, sg=4))
    assert watched.said() == [f"LUN_ATTACHED {A}", f"DEVICE_RETURNED {A} 7:0:3:0"]
    assert watched.shelf.at[A].unit.node == "/dev/sg4"
    assert watched.roster.missing == {}
    assert watched.roster.luns[A].spec.pdev == "1:0:0:0"


async def test_of_a_shared_unit_each_address_has_its_own_word() -> None:
    watched = Watched()
    await watched.attach(A, f"wwn:{WWN},on-loss=remove")
    await watched.attach(B, f"wwn:{WWN}")
    await watched.look()
    assert list(watched.shelf.at) == [B]
    await watched.look(tape("1:0:0:0", 11, wwn=WWN, sg=3))
    assert sorted(watched.shelf.at) == [A, B]
    assert watched.shelf.at[A] is watched.shelf.at[B]
    assert watched.shelf.at[A].unit.node == "/dev/sg3"


async def test_who_detaches_a_lun_that_is_missing_does_not_want_it_back() -> None:
    watched = Watched()
    await watched.attach(A, f"wwn:{WWN},on-loss=remove")
    await watched.look()
    await watched.changes.detach_lun(A, force=False, patience=0)
    await watched.look(TAPE)
    assert watched.shelf.at == {}


async def test_a_node_that_cannot_be_opened_yet_is_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watched = Watched()
    await watched.attach(A, f"wwn:{WWN}")
    unit = watched.shelf.at[A].unit
    await watched.look()
    unit.refuses = True
    back = tape("1:0:0:0", 11, wwn=WWN)
    for _ in range(2):
        await watched.look(back)
    assert caplog.text.count("Permission denied") == 1
    assert watched.said() == [f"DEVICE_LOST {A} 1:0:0:0"]
    unit.refuses = False
    await watched.look(back)
    assert watched.said() == [f"DEVICE_RETURNED {A} 1:0:0:0"]


async def test_who_could_not_be_had_is_tried_again_without_any_event(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(follower, "RETRY", 0.01)
    watched = Watched()
    await watched.attach(A, f"wwn:{WWN}")
    unit = watched.shelf.at[A].unit
    async with watched.follower:
        await watched.until(lambda: not watched.follower._woken.is_set())
        watched.there.clear()
        watched.follower.wake()
        await watched.until(lambda: unit.lost)
        unit.refuses = True
        watched.there.append(tape("1:0:0:0", 11, wwn=WWN))
        watched.follower.wake()
        await watched.until(lambda: unit.tried > 1)
        unit.refuses = False
        await watched.until(lambda: not unit.lost)


async def test_a_lun_that_was_missing_from_the_start_comes_with_its_device() -> None:
    watched = Watched(there=())
    watched.roster.missing[A] = Missing(f"wwn:{WWN}", "it was not there")
    await watched.look()
    assert "no such SCSI device" in watched.roster.missing[A].problem
    await watched.look(TAPE)
    assert watched.said() == [f"LUN_ATTACHED {A}"]


RULE = Rule("0:0:{n}:0", (("type", ("tape",)),), place="c.toml:9")


async def test_a_rule_attaches_what_is_there_and_what_comes() -> None:
    other = tape("2:0:0:0", 11, wwn=OTHER, sg=1)
    watched = Watched(RULE)
    await watched.look(TAPE, tape("1:0:1:0", 12, kind="disk"))
    assert watched.said() == ["LUN_ATTACHED 0:0:0:0"]
    await watched.look(TAPE, other)
    assert watched.said() == ["LUN_ATTACHED 0:0:1:0"]
    assert watched.roster.luns[Address(0, 0, 1, 0)].spec.pdev == f"wwn:{OTHER}"


async def test_what_a_rule_attached_has_its_address_again_when_it_is_back() -> None:
    other = tape("2:0:0:0", 11, wwn=OTHER, sg=1)
    watched = Watched(RULE)
    await watched.look(TAPE, other)
    await watched.look(other)
    assert f"LUN_DETACHED {Address(0, 0, 0, 0)}" in watched.said()
    await watched.look()
    watched.said()
    await watched.look(tape("9:0:0:0", 30, wwn=OTHER, sg=1))
    assert watched.said() == ["LUN_ATTACHED 0:0:1:0"]


async def test_what_a_rule_attached_has_its_address_again_under_the_next_daemon(
    tmp_path: Path,
) -> None:
    other = tape("2:0:0:0", 11, wwn=OTHER, sg=1)
    first = Watched(RULE, folder=tmp_path)
    await first.look(other)
    await first.look(other, TAPE)
    assert set(first.said()) == {"LUN_ATTACHED 0:0:0:0", "LUN_ATTACHED 0:0:1:0"}
    # By the order of the host's addresses they would change places; a new one comes behind them.
    new = tape("0:0:0:0", 9, wwn="5000c50015ea71ae", sg=2)
    again = Watched(RULE, folder=tmp_path)
    await again.look(new, TAPE, other)
    where = {one.device.wwn: str(at) for at, one in again.shelf.at.items()}
    assert where == {OTHER: "0:0:0:0", WWN: "0:0:1:0", "5000c50015ea71ae": "0:0:2:0"}


async def test_places_that_make_no_sense_are_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for text in ("", "{", "[]", '{"version": 2}', '{"version": 1, "places": [{"device": {}}]}'):
        (tmp_path / "places.json").write_text(text)
        watched = Watched(RULE, folder=tmp_path)
        await watched.look(TAPE)
        assert watched.said() == ["LUN_ATTACHED 0:0:0:0"]
        assert "passed over" in caplog.text
        caplog.clear()
        assert Places(tmp_path).find(TAPE.identity, RULE.vdev) == Address(0, 0, 0, 0)
    assert Places(tmp_path).find(TAPE.identity, "0:0:9:{n}") is None


async def test_what_an_operator_detached_stays_so_until_it_is_plugged_again() -> None:
    watched = Watched(RULE)
    await watched.look(TAPE)
    await watched.changes.detach_lun(Address(0, 0, 0, 0), force=False, patience=0)
    await watched.look(TAPE)
    assert watched.shelf.at == {}
    await watched.look()
    await watched.look(tape("1:0:0:0", 11, wwn=WWN))
    assert list(watched.shelf.at) == [Address(0, 0, 0, 0)]


async def test_a_rule_takes_no_address_that_is_spoken_for(caplog: pytest.LogCaptureFixture) -> None:
    only = Rule("0:0:1:0", (("type", ("tape",)),), place="c.toml:9")
    watched = Watched(only)
    await watched.attach(A, f"wwn:{WWN}")
    await watched.look(TAPE, tape("2:0:0:0", 11, wwn=OTHER, sg=1))
    assert list(watched.shelf.at) == [A]
    told = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert any("all its addresses are taken" in line for line in told)
    assert any("is attached already" in line for line in told)
    caplog.clear()
    await watched.look(TAPE, tape("2:0:0:0", 11, wwn=OTHER, sg=1))
    assert caplog.records == []


async def test_of_a_device_that_has_come_back_no_rule_says_anything(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watched = Watched(Rule("0:0:5:0", (("type", ("tape",)),), ("on-loss=offline",), "c.toml:9"))
    await watched.look(TAPE)
    await watched.look()
    caplog.clear()
    await watched.look(tape("7:0:0:0", 20, wwn=WWN))
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert watched.said()[-1] == "DEVICE_RETURNED 0:0:5:0 7:0:0:0"


async def test_two_paths_to_one_device_are_named_by_their_addresses() -> None:
    watched = Watched(RULE)
    await watched.look(TAPE, tape("2:0:0:0", 11, wwn=WWN, sg=1))
    names = {lun.spec.pdev for lun in watched.roster.luns.values()}
    assert names == {"1:0:0:0", "2:0:0:0"}


async def test_a_rule_that_is_gone_takes_its_luns_with_it_at_a_reload() -> None:
    watched = Watched(RULE)
    await watched.look(TAPE)
    assert list(watched.roster.wanted().luns) == [Address(0, 0, 0, 0)]
    await watched.roster.settle(Plan(watched.roster.configured.hosts))
    assert watched.roster.wanted().luns == {}


async def test_nothing_is_looked_at_where_nothing_is_to_be_followed() -> None:
    watched = Watched()
    asked: list[str] = []
    watched.follower._list_devices = lambda: asked.append("asked") or []
    await watched.follower.look()
    assert asked == []
