"""A removable disk: eject, load, and who prevents it."""

import pytest

from tests.harness import emulated
from tests.harness.emulated import code_of

EJECT, EJECT_NO_FLUSH, LOAD = "1b 00 00 00 02 00", "1b 00 00 00 06 00", "1b 00 00 00 03 00"
STOP, START, ACTIVE = "1b 00 00 00 00 00", "1b 00 00 00 01 00", "1b 00 00 00 10 00"
PREVENT, ALLOW, READY = "1e 00 00 00 01 00", "1e 00 00 00 00 00", "00"

NO_MEDIUM, PREVENTED = (2, 0x3A, 0), (5, 0x53, 2)


class Rig(emulated.Rig):
    """A disk that is removable, and what became of its gates."""

    def __init__(self, **geometry):
        super().__init__(**{"removable": True, **geometry})
        self.gates = []

    async def _keep(self, cause, shut):
        if cause.name != "ATTENTION":
            self.gates.append((cause.name, shut))


async def rig(**geometry):
    return await Rig(**geometry).connected()


async def test_inquiry_says_removable():
    assert (await (await rig()).data("12 00 00 00 ff 00"))[1] == 0x80
    assert (await (await rig(removable=False)).data("12 00 00 00 ff 00"))[1] == 0


@pytest.mark.parametrize(
    "cdb",
    [
        *("00", "08", "28", "2a", "35", "41", "88", "89", "8a", "91"),
        *("25", "9e 10", "9e 12", "37", "b7", "2b"),
        *(START, STOP, ACTIVE),
    ],
)
async def test_without_a_medium_all_that_needs_one_is_refused(cdb):
    disk = await rig()
    assert await disk.data(EJECT) == b""
    for nexus in ("a", "b"):
        assert code_of(await disk.sense(cdb, nexus=nexus)) == NO_MEDIUM


@pytest.mark.parametrize(
    "cdb",
    [
        *("12 00 00 00 24 00", "12 01 b0 00 40 00", "1a 00 3f 00 ff 00", "4d 00 40 00000000 00ff"),
        *("a0 00 00 000000 00000100", "a3 0c 00 000000 00001000", EJECT, PREVENT, ALLOW),
    ],
)
async def test_without_a_medium_the_unit_still_answers(cdb):
    disk = await rig()
    await disk.data(EJECT)
    await disk.data(cdb)


async def test_request_sense_tells_of_the_missing_medium():
    disk = await rig()
    await disk.data(EJECT)
    assert code_of(await disk.data("03 00 0000 ff 00")) == NO_MEDIUM


async def test_an_eject_shuts_the_gates_and_a_load_opens_them():
    disk = await rig()
    await disk.data(EJECT)
    assert disk.gates == [("STOPPED", True)] * 2
    late = []

    async def keeper(cause, shut):
        late.append((cause.name, shut))

    await disk.disk.connect("c", keeper)
    assert ("STOPPED", True) in late
    await disk.data(LOAD)
    assert disk.gates[2:] == [("STOPPED", False)] * 2
    assert late[-1] == ("STOPPED", False)


async def test_a_load_tells_the_others_that_the_medium_may_have_changed():
    disk = await rig()
    await disk.data(EJECT)
    await disk.data(LOAD)
    assert await disk.data(READY) == b""
    assert code_of(await disk.sense(READY, nexus="b")) == (6, 0x28, 0)
    assert emulated.is_good(await disk.ask(READY, nexus="b"))


async def test_a_load_of_what_is_loaded_starts_it_and_tells_nobody():
    disk = await rig()
    await disk.data(STOP)
    await disk.data(LOAD)
    for nexus in ("a", "b"):
        assert emulated.is_good(await disk.ask(READY, nexus=nexus))


async def test_an_eject_flushes_unless_told_not_to():
    disk = await rig()
    await disk.data(EJECT)
    assert disk.flushed == 1
    await disk.data(EJECT)
    assert disk.flushed == 1
    await disk.data(LOAD)
    await disk.data(EJECT_NO_FLUSH)
    assert disk.flushed == 1


async def test_a_medium_whose_writes_are_not_stable_stays_in():
    disk = await rig()
    disk.flush_error = OSError(5, "Input/output error")
    assert code_of(await disk.sense(EJECT))[0] == 3
    assert code_of(await disk.sense(READY)) == (2, 0x04, 0x02)
    assert await disk.data(START) == b""
    assert await disk.data(READY) == b""


async def test_any_nexus_prevents_the_eject_of_all():
    disk = await rig()
    await disk.ask(PREVENT, nexus="b")
    assert code_of(await disk.sense(EJECT)) == PREVENTED
    assert code_of(await disk.sense(EJECT, nexus="b")) == PREVENTED
    await disk.data(ALLOW)  # by another: nothing of b's
    assert code_of(await disk.sense(EJECT)) == PREVENTED
    assert disk.gates == []
    await disk.data(READY)
    await disk.data(STOP)  # no removal
    await disk.ask(ALLOW, nexus="b")
    await disk.data(EJECT)
    assert code_of(await disk.sense(READY)) == NO_MEDIUM


async def test_a_prevention_is_no_count():
    disk = await rig()
    for cdb in (PREVENT, PREVENT, ALLOW, EJECT):
        await disk.data(cdb)
    assert code_of(await disk.sense(READY)) == NO_MEDIUM


@pytest.mark.parametrize("how", ["nexus_lost", "disconnect", "reset"])
async def test_a_prevention_ends_with_its_nexus_or_a_reset(how):
    disk = Rig()
    keep = disk._keep
    for nexus in ("a", "b"):
        await disk.disk.connect(nexus, keep)
        await disk.ask(READY, nexus=nexus)
    await disk.ask(PREVENT, nexus="b")
    match how:
        case "nexus_lost":
            await disk.disk.nexus_lost("b")
        case "disconnect":
            disk.disk.disconnect("b", keep)
        case "reset":
            await disk.disk.reset()
            await disk.ask(READY)
    await disk.data(EJECT)
    assert code_of(await disk.sense(READY)) == NO_MEDIUM


async def test_a_reset_starts_a_stopped_unit_and_loads_no_medium():
    disk = await rig()
    await disk.data(EJECT)
    await disk.disk.reset()
    assert code_of(await disk.sense(READY)) == (6, 0x29, 3)
    assert code_of(await disk.sense(READY)) == NO_MEDIUM
    assert disk.gates == [("STOPPED", True)] * 2
    await disk.data(LOAD)
    await disk.data(STOP)
    await disk.disk.reset()
    await disk.ask(READY)
    assert await disk.data(READY) == b""


async def test_with_another_power_condition_loej_is_ignored():
    disk = await rig()
    await disk.data("1b 00 00 00 12 00")
    assert await disk.data(READY) == b""


async def test_what_is_not_removable_stays():
    disk = await rig(removable=False)
    data = await disk.sense(EJECT)
    assert code_of(data) == (5, 0x24, 0)
    assert data[15:18].hex() == "c90004"
    await disk.data(PREVENT)
    assert await disk.data(READY) == b""
