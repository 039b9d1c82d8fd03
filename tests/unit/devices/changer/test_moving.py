"""A move goes on to its end, whoever asked for it."""

import asyncio

import pytest

from vhost_pvscsi.devices.changer.moving import to_the_end


async def test_what_has_begun_is_done_before_the_end_is_heard_of():
    begun, let = asyncio.Event(), asyncio.Event()
    done = []

    async def work():
        begun.set()
        await let.wait()
        done.append(True)

    task = asyncio.create_task(to_the_end(work()))
    await begun.wait()
    task.cancel()
    asyncio.get_running_loop().call_soon(let.set)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == [True]
