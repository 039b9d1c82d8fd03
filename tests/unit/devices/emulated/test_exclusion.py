"""Who has a unit's blocks, and who waits."""

import asyncio

import pytest

from vhost_pvscsi.devices.emulated.exclusion import Exclusion


class Rig:
    """An exclusion whose gates take a while to shut, and a log of what happened."""

    def __init__(self):
        self.log = []
        self.shutting = asyncio.Event()
        self.shutting.set()
        self.exclusion = Exclusion(self._shut)

    async def _shut(self, shut):
        self.log.append("shut" if shut else "open")
        if shut:
            await self.shutting.wait()

    def run(self, name, *, alone, until):
        async def command():
            exclusion = self.exclusion
            async with exclusion.exclusive() if alone else exclusion.shared():
                self.log.append(f"{name} begins")
                await until.wait()
                self.log.append(f"{name} ends")

        return asyncio.create_task(command())


async def turns():
    """Let every task go as far as it can: none of these takes more steps than that."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_those_that_share_run_together():
    rig, end = Rig(), asyncio.Event()
    tasks = [rig.run(name, alone=False, until=end) for name in "ab"]
    await turns()
    assert rig.log == ["a begins", "b begins"]
    end.set()
    await asyncio.gather(*tasks)


async def test_one_that_is_alone_waits_for_those_that_share_and_they_for_it():
    rig, first, end = Rig(), asyncio.Event(), asyncio.Event()
    tasks = [rig.run("write", alone=False, until=first)]
    await turns()
    tasks.append(rig.run("compare", alone=True, until=end))
    await turns()
    tasks.append(rig.run("late", alone=False, until=end))
    await turns()
    assert rig.exclusion.alone
    assert rig.log == ["write begins", "shut"]
    first.set()
    await turns()
    assert rig.log[2:] == ["write ends", "compare begins"]
    end.set()
    await asyncio.gather(*tasks)
    assert rig.log[4:] == ["compare ends", "open", "late begins", "late ends"]
    assert not rig.exclusion.alone


async def test_two_that_are_alone_take_turns_and_let_others_in_between():
    rig, ends = Rig(), [asyncio.Event(), asyncio.Event(), asyncio.Event()]
    tasks = [rig.run("first", alone=True, until=ends[0])]
    await turns()
    tasks.append(rig.run("second", alone=True, until=ends[1]))
    tasks.append(rig.run("write", alone=False, until=ends[2]))
    await turns()
    assert rig.log == ["shut", "first begins"]
    ends[0].set()
    await turns()
    assert rig.log[2:] == ["first ends", "open", "write begins", "shut"]
    ends[2].set()
    ends[1].set()
    await asyncio.gather(*tasks)
    assert rig.log[6:] == ["write ends", "second begins", "second ends", "open"]


@pytest.mark.parametrize("when", ["while the gates shut", "while others run", "while it runs"])
async def test_one_that_is_cancelled_lets_all_in_again(when):
    rig, write = Rig(), asyncio.Event()
    if when == "while the gates shut":
        rig.shutting.clear()
    others = []
    if when == "while others run":
        others.append(rig.run("write", alone=False, until=write))
        await turns()
    task = rig.run("compare", alone=True, until=asyncio.Event())
    await turns()
    assert rig.exclusion.alone
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not rig.exclusion.alone
    assert rig.log[-1] == "open"
    write.set()
    rig.shutting.set()
    others.append(rig.run("next", alone=True, until=write))
    await asyncio.wait_for(asyncio.gather(*others), 5)
