"""Who wins, the configuration or the operator: whoever spoke last."""

from __future__ import annotations

from pathlib import Path

import pytest

from vhost_pvscsi.daemon.plan import Plan, plan_host, plan_lun
from vhost_pvscsi.daemon.roster import Roster
from vhost_pvscsi.errors import ConfigurationError, DeviceError
from vhost_pvscsi.identity import Address
from vhost_pvscsi.state import NAME, Store

A, B = Address(0, 0, 1, 0), Address(0, 0, 2, 0)


def plan(hosts: tuple[int, ...] = (0,), **luns: str) -> Plan:
    """A plan; LUNs by their target."""
    addresses = {Address(0, 0, int(name[1:]), 0): text for name, text in luns.items()}
    return Plan(
        {number: plan_host(number, {"socket-path": f"/{number}"}) for number in hosts},
        {at: plan_lun(at, text, Path("/")) for at, text in addresses.items()},
    )


async def started(folder: Path | None, configured: Plan) -> Roster:
    roster = Roster(configured, Store(folder))
    await roster.settle(configured)
    return roster


def luns(roster: Roster) -> dict[int, str]:
    return {address.target: lun.text for address, lun in roster.wanted().luns.items()}


async def attach(roster: Roster, address: Address, text: str, *, transient: bool = False) -> None:
    async with roster.lun_change(address, roster.plan_lun(address, text), transient=transient):
        pass


async def detach(roster: Roster, address: Address) -> None:
    async with roster.lun_change(address, None):
        pass


async def test_what_operators_did_is_there_for_the_next_daemon(tmp_path: Path) -> None:
    configured = plan(t1="ram:1M", t3="ram:3M")
    roster = await started(tmp_path, configured)
    await attach(roster, B, "ram:2M,ro")
    await detach(roster, A)
    for known in (roster, await started(tmp_path, configured)):
        assert luns(known) == {2: "ram:2M,ro", 3: "ram:3M"}


async def test_a_configured_lun_can_be_replaced(tmp_path: Path) -> None:
    configured = plan(t1="ram:1M")
    roster = await started(tmp_path, configured)
    await detach(roster, A)
    await attach(roster, A, "ram:5M")
    assert luns(await started(tmp_path, configured)) == {1: "ram:5M"}
    await detach(roster, A)
    assert luns(await started(tmp_path, configured)) == {}
    await attach(roster, A, "ram:1M")
    assert Store(tmp_path).records.luns == {}, "as configured is nothing to remember"


async def test_who_changes_the_configuration_speaks_last(tmp_path: Path) -> None:
    roster = await started(tmp_path, plan(t1="ram:1M"))
    await detach(roster, A)
    await attach(roster, B, "ram:2M")
    assert luns(await started(tmp_path, plan(t1="ram:1M"))) == {2: "ram:2M"}
    changed = await started(tmp_path, plan(t1="ram:1M,ro", t2="ram:9M"))
    assert luns(changed) == {1: "ram:1M,ro", 2: "ram:9M"}
    # And what it made void stays so when the configuration is as it was.
    assert luns(await started(tmp_path, plan(t1="ram:1M"))) == {1: "ram:1M"}


async def test_what_is_transient_is_known_to_this_daemon_alone(tmp_path: Path) -> None:
    configured = plan(t1="ram:1M")
    roster = await started(tmp_path, configured)
    await detach(roster, A)
    await attach(roster, A, "ram:7M", transient=True)
    await attach(roster, B, "ram:2M", transient=True)
    await roster.settle(configured)
    assert luns(roster) == {1: "ram:7M", 2: "ram:2M"}
    assert luns(await started(tmp_path, configured)) == {}
    await detach(roster, B)
    assert luns(roster) == {1: "ram:7M"}


async def test_a_host_takes_its_luns_with_it(tmp_path: Path) -> None:
    configured = plan(t1="ram:1M")
    roster = await started(tmp_path, configured)
    await attach(roster, B, "ram:2M")
    async with roster.host_change(0, None):
        pass
    assert await started(tmp_path, configured)
    assert (await started(tmp_path, configured)).wanted() == Plan()
    async with roster.host_change(0, plan_host(0, {"socket-path": "/other"})):
        pass
    again = (await started(tmp_path, configured)).wanted()
    assert list(again.hosts) == [0]
    assert again.luns == {}, "it came back empty, and is so"


async def test_forgetting_leaves_the_configuration(tmp_path: Path) -> None:
    configured = plan(t1="ram:1M")
    roster = await started(tmp_path, configured)
    await detach(roster, A)
    await attach(roster, B, "ram:2M", transient=True)
    await roster.settle(configured, forget=True)
    assert luns(roster) == luns(await started(tmp_path, configured)) == {1: "ram:1M"}


async def test_what_does_not_work_is_not_remembered(tmp_path: Path) -> None:
    roster = await started(tmp_path, plan())
    lun = roster.plan_lun(A, "ram:1M")

    async def fail() -> None:
        async with roster.lun_change(A, lun):
            assert luns(await started(tmp_path, plan())) == {1: "ram:1M"}, "kept before it is done"
            raise ConfigurationError("no")

    with pytest.raises(ConfigurationError, match="no"):
        await fail()
    assert luns(await started(tmp_path, plan())) == {}


async def test_what_cannot_be_kept_is_not_done(tmp_path: Path) -> None:
    roster = await started(tmp_path, plan())
    (tmp_path / NAME).with_suffix(".new").mkdir()
    with pytest.raises(DeviceError, match="cannot be kept") as caught:
        async with roster.lun_change(A, roster.plan_lun(A, "ram:1M")):
            pytest.fail("it was done")
    assert "--transient" in (caught.value.hint or "")
    await attach(roster, A, "ram:1M", transient=True)


async def test_what_makes_no_sense_any_more_is_missing(tmp_path: Path) -> None:
    roster = await started(tmp_path, plan())
    await attach(roster, A, "ram:1M")
    path = tmp_path / NAME
    path.write_text(path.read_text().replace("ram:1M", "ram:1M,gone=1"))
    roster = await started(tmp_path, plan())
    assert luns(roster) == {}
    assert "option 'gone' is not known" in roster.missing[A].problem
