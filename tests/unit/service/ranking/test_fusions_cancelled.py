"""A caller that leaves in the middle of a change."""

import asyncio
import threading

import pytest

from contract.fusion import FusionProfile
from service.ranking.compiling import ProfileCompiler
from service.ranking.editing import FusionEditor
from service.ranking.fusions import FAMILY, FusionBook
from service.ranking.revising import Author
from service.stores.memory import MemoryRevisionStore
from tests.fakes import PATIENCE_S, FakeCatalog, FakeModel


class SlowStore(MemoryRevisionStore):
    """Keeps a revision only when the test says so."""

    def __init__(self):
        super().__init__()
        self.entered, self.gate, self.kept = threading.Event(), threading.Event(), threading.Event()

    def append(self, change):
        self.entered.set()
        assert self.gate.wait(PATIENCE_S), "the test never opened the gate"
        try:
            return super().append(change)
        finally:
            self.kept.set()


def test_a_change_whose_caller_left_is_in_force_once_it_is_kept():
    async def scenario():
        store, compiler = SlowStore(), ProfileCompiler()
        book = FusionBook(compile_profile=compiler)
        editor = FusionEditor(store=store, book=book, catalog=FakeCatalog(FakeModel()), compile_profile=compiler)
        writing = asyncio.create_task(editor.put("default", FusionProfile(formula="ctr"), Author(name="ana")))
        assert await asyncio.to_thread(store.entered.wait, PATIENCE_S)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        store.gate.set()
        # Whatever comes next on the loop runs after the abandoned change has ended.
        assert await asyncio.to_thread(store.kept.wait, PATIENCE_S)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.wait_for(asyncio.gather(*others), PATIENCE_S)
        return book, store

    book, store = asyncio.run(scenario())

    assert {FAMILY + name: standing.revision for name, standing in book.profiles().items()} == store.latest()
    assert set(store.latest()) == {"fusion/default"}
