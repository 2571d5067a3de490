"""A caller that leaves in the middle of a change."""

import asyncio
import threading

import pytest

from contract.fusion import FusionProfile
from service.ranking.fusions import DEFAULT_PROFILE, FusionBook
from service.stores.memory import MemoryFusionStore
from tests.fakes import PATIENCE_S, FakeModel


class SlowStore(MemoryFusionStore):
    """Keeps a revision only when the test says so."""

    def __init__(self):
        super().__init__()
        self.entered = threading.Event()
        self.gate = threading.Event()

    def append(self, profile_name, profile):
        self.entered.set()
        assert self.gate.wait(PATIENCE_S), "the test never opened the gate"
        return super().append(profile_name, profile)


def test_a_change_whose_caller_left_is_in_force_once_it_is_kept():
    async def scenario():
        model, store = FakeModel(), SlowStore()
        book = FusionBook(store)
        writing = asyncio.create_task(book.write(DEFAULT_PROFILE, FusionProfile(formula="ctr"), [model]))
        assert await asyncio.to_thread(store.entered.wait, PATIENCE_S)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        store.gate.set()
        # The next writer waits behind the abandoned one, so when it is through both have ended.
        await book.write("another", FusionProfile(formula="ctr"), [model])
        return book.profiles(), store.latest()

    in_force, kept = asyncio.run(scenario())

    assert in_force == kept
    assert set(kept) == {DEFAULT_PROFILE, "another"}
