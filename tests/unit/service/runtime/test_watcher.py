import asyncio

from service.runtime.watcher import Watcher
from tests.fakes import PATIENCE_S


def test_a_look_that_fails_does_not_end_the_watch():
    looks = []

    async def scenario():
        seen = asyncio.Event()

        async def refresh():
            looks.append(len(looks))
            if len(looks) == 1:
                raise OSError("the folder is away")
            seen.set()

        async with Watcher(refresh, interval_s=0.0), asyncio.timeout(PATIENCE_S):
            await seen.wait()

    asyncio.run(scenario())

    assert len(looks) >= 2


def test_when_the_block_ends_nobody_looks_any_more():
    async def scenario():
        async def refresh():
            begun.set()
            await asyncio.Event().wait()

        begun = asyncio.Event()
        async with Watcher(refresh, interval_s=0.0), asyncio.timeout(PATIENCE_S):
            await begun.wait()
        return asyncio.all_tasks() - {asyncio.current_task()}

    assert asyncio.run(scenario()) == set()
