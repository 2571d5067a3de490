import asyncio

import pytest

from contract.bundle import read_bundle
from contract.errors import FormulaError
from contract.fusion import FusionProfile
from service.errors import ModelRejected, ProfileMismatch, StoreUnavailable, UnknownProfile
from service.ranking.fusions import DEFAULT_PROFILE, FusionBook
from service.stores.memory import MemoryFusionStore
from tests.conftest import ROOT


class FakeModel:
    """What the book reads of a served model."""

    def __init__(self, *, manifest, version=1):
        self.manifest = manifest
        self.version = version


CTR = FusionProfile(formula="ctr")
LIKE = FusionProfile(formula="w * like", weights={"w": 2.0})
NONSENSE = FusionProfile(formula="ctr * nothing_like_it")


@pytest.fixture(scope="module")
def model():
    return FakeModel(manifest=read_bundle(ROOT / "models_onnx" / "demo" / "1").manifest)


def without(model, head, *, version=2, name="demo"):
    heads = tuple(kept for kept in model.manifest.heads if kept.name != head)
    return FakeModel(version=version, manifest=model.manifest.model_copy(update={"heads": heads, "name": name}))


def opened(model, store=None):
    book = FusionBook(store if store is not None else MemoryFusionStore())
    asyncio.run(book.open([model]))
    return book


class BrokenStore(MemoryFusionStore):
    def append(self, profile_name, profile):
        raise StoreUnavailable("the disk is full")


def test_a_new_store_starts_with_the_models_own_profile(model):
    store = MemoryFusionStore()

    revision, fusion = opened(model, store).current(DEFAULT_PROFILE, model)

    assert revision.revision == 1
    assert fusion.profile == model.manifest.fusion
    assert store.latest()[DEFAULT_PROFILE] == revision


def test_what_an_operator_wrote_is_not_replaced_at_a_restart(model):
    store = MemoryFusionStore()
    written = store.append(DEFAULT_PROFILE, LIKE)

    book = opened(model, store)

    assert book.current(DEFAULT_PROFILE, model)[0] == written
    assert dict(book.profiles()) == {DEFAULT_PROFILE: written}


def test_a_profile_that_is_not_there_is_named_with_those_that_are(model):
    with pytest.raises(UnknownProfile, match="nobody") as refused:
        opened(model).current("nobody", model)

    assert DEFAULT_PROFILE in refused.value.fix
    assert refused.value.path == "/profile"


def test_the_next_request_uses_what_was_written(model):
    store = MemoryFusionStore()
    book = opened(model, store)

    written = asyncio.run(book.write(DEFAULT_PROFILE, LIKE, [model]))

    revision, fusion = book.current(DEFAULT_PROFILE, model)
    assert revision == written == store.latest()[DEFAULT_PROFILE]
    assert fusion.profile == LIKE
    assert fusion.reads == {"like"}


def test_a_request_that_holds_a_revision_keeps_it_while_another_is_written(model):
    book = opened(model)
    revision, fusion = book.current(DEFAULT_PROFILE, model)

    asyncio.run(book.write(DEFAULT_PROFILE, LIKE, [model]))

    assert revision.revision == 1
    assert fusion.profile == revision.profile == model.manifest.fusion


def test_a_profile_that_reads_what_the_model_lacks_does_not_fit_it(model):
    book = opened(model)
    asyncio.run(book.write("likes", LIKE, [model]))

    with pytest.raises(ProfileMismatch, match="likes"):
        book.current("likes", without(model, "like", version=1, name="other"))


def test_a_formula_that_no_model_can_use_never_reaches_the_store(model):
    store = MemoryFusionStore()
    book = opened(model, store)
    before = dict(store.latest())

    with pytest.raises(FormulaError):
        asyncio.run(book.write(DEFAULT_PROFILE, NONSENSE, [model]))

    assert dict(store.latest()) == before == dict(book.profiles())


def test_a_formula_that_one_of_several_models_can_use_is_kept(model):
    book = opened(model)

    written = asyncio.run(book.write("likes", LIKE, [without(model, "like", name="other"), model]))

    assert book.current("likes", model)[0] == written


def test_while_no_model_serves_a_formula_cannot_be_checked_and_is_refused():
    with pytest.raises(FormulaError):
        asyncio.run(FusionBook(MemoryFusionStore()).write("a", CTR, []))


def test_what_could_not_be_kept_is_not_in_force(model):
    store = BrokenStore()
    seeded = MemoryFusionStore.append(store, DEFAULT_PROFILE, CTR)
    book = opened(model, store)

    with pytest.raises(StoreUnavailable):
        asyncio.run(book.write(DEFAULT_PROFILE, LIKE, [model]))

    assert book.current(DEFAULT_PROFILE, model)[0] == seeded


def test_a_version_under_which_a_live_profile_would_break_is_refused(model):
    book = opened(model)
    asyncio.run(book.write("likes", LIKE, [model]))

    with pytest.raises(ModelRejected, match="likes"):
        book.check_model(without(model, "like"), model)


def test_a_version_that_keeps_what_the_live_profiles_read_is_accepted(model):
    book = opened(model)
    asyncio.run(book.write(DEFAULT_PROFILE, CTR, [model]))

    book.check_model(without(model, "like"), model)


def test_a_first_model_and_a_profile_that_never_fitted_break_nothing(model):
    book = opened(model)
    asyncio.run(book.write("likes", LIKE, [model]))
    poor = without(model, "like", version=1, name="other")

    book.check_model(poor, None)
    book.check_model(without(model, "like", version=2, name="other"), poor)


def test_writers_at_the_same_time_leave_the_newest_revision_in_force(model):
    book = opened(model)

    async def write_all():
        return await asyncio.gather(*(book.write("a", CTR, [model]) for _ in range(10)))

    numbers = [revision.revision for revision in asyncio.run(write_all())]

    assert sorted(numbers) == list(range(1, 11))
    assert book.revision("a").revision == 10
