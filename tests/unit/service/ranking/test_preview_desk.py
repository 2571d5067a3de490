import asyncio

import pytest

from contract.errors import FormulaError
from contract.fusion import FusionProfile, LearnedProfile
from contract.weights import Weight
from service.errors import InvalidField, PreviewBusy, UnknownProfile, WorkerFailed
from service.ranking.preview import KeptProfileCompiler
from service.ranking.preview_desk import PreviewDesk
from service.ranking.proposal import InForceProfile, Proposal
from service.ranking.reservoir import Reservoir
from tests.factories import tiny_manifest
from tests.fakes import FakeCatalog, FakeModel, ManualClock
from tests.kept import formula, run_here
from tests.unit.service.ranking.test_reservoir import offer

pytestmark = pytest.mark.anyio


class Observer:
    def __init__(self):
        self.seconds = []

    def observe_preview(self, *, seconds):
        self.seconds.append(seconds)


class Desk:
    """A desk over a reservoir that a test fills, with one profile named default."""

    def __init__(self, current="ctr", *, models=None, run=run_here, max_requests=100):
        self.clock = ManualClock()
        self.reservoir = Reservoir(max_requests=max_requests, max_rows=10_000, clock=self.clock)
        self.observer = Observer()
        self.profile = formula(current) if isinstance(current, str) else current
        self.catalog = FakeCatalog(*([FakeModel()] if models is None else models))
        self.desk = PreviewDesk(
            reservoir=self.reservoir,
            in_force=self.in_force,
            compile_kept=KeptProfileCompiler(),
            catalog=self.catalog,
            run=run,
            observer=self.observer,
            clock=self.clock,
        )

    def in_force(self, name):
        if name != "default":
            raise UnknownProfile(f"there is no {name}")
        return InForceProfile(name=name, revision=7, profile=self.profile)

    def see(self, *models, **offered):
        for model in models or self.catalog.all():
            offer(self.reservoir, 3, model=model, **offered)
        self.reservoir.settle()

    async def ask(self, proposed="price", *, name="default", weights=None, segment_by=None, max_requests=100):
        profile = formula(proposed) if isinstance(proposed, str) else proposed
        proposal = Proposal(
            profile=None if weights else profile,
            weights=weights or {},
            top_k=2,
            segment_by=segment_by,
            max_requests=max_requests,
        )
        return await self.desk.answer(name, proposal)


async def test_what_was_seen_is_ranked_again_and_the_revision_in_force_is_named():
    desk = Desk()
    desk.see()
    desk.see()

    found = await desk.ask()

    assert (found.kept, found.chosen, found.preview.change.requests, found.preview.change.candidates) == (2, 2, 2, 6)
    assert found.comparison.current.revision == 7
    assert desk.observer.seconds == [0.0]


async def test_without_traffic_there_is_an_answer():
    found = await Desk().ask()

    assert (found.kept, found.preview, found.is_sampling) == (0, None, True)


async def test_requests_of_other_profiles_are_left_out():
    desk = Desk()
    desk.see(profile="other")
    desk.see()

    assert (await desk.ask()).kept == 1


async def test_no_more_requests_are_ranked_than_asked():
    desk = Desk()
    for _ in range(20):
        desk.see()

    found = await desk.ask(max_requests=5)

    assert (found.kept, found.chosen, found.preview.change.requests) == (20, 5, 5)


async def test_a_profile_that_nobody_wrote_is_unknown():
    with pytest.raises(UnknownProfile):
        await Desk().ask(name="nobody")


async def test_a_formula_that_fits_no_served_model_is_refused_with_its_place():
    with pytest.raises(FormulaError, match="character 7") as refused:
        await Desk().ask("ctr + cttr")

    assert refused.value.path == "/formula"


async def test_a_version_that_was_swapped_away_is_used_while_the_formula_fits_its_heads():
    old, new = FakeModel(version=1), FakeModel(version=2)
    desk = Desk(models=[new])
    desk.see(old, new, old)

    found = await desk.ask()

    assert [(use.version, use.requests, use.refusal) for use in found.versions] == [(1, 2, ""), (2, 1, "")]
    assert found.preview.change.requests == 3


async def test_a_version_whose_heads_do_not_fit_is_told_with_its_reason_and_left_out():
    narrow = tiny_manifest().model_copy(update={"heads": tiny_manifest().heads[:1]})
    desk = Desk("ctr", models=[FakeModel(version=2)])
    desk.see(FakeModel(version=2))
    offer_narrow(desk, narrow)

    found = await desk.ask("ctr * duration_seconds")

    assert [(use.version, bool(use.refusal)) for use in found.versions] == [(1, True), (2, False)]
    assert "duration_seconds" in found.versions[0].refusal
    assert (found.kept, found.chosen) == (2, 1)


def offer_narrow(desk, manifest):
    desk.see(FakeModel(manifest=manifest, version=1))


async def test_weights_alone_change_those_of_the_profile_in_force():
    desk = Desk(FusionProfile(formula="a * ctr + b * price", weights={"a": 1.0, "b": Weight(value=2.0, max=3.0)}))

    found = await desk.ask(weights={"b": 3.0})

    assert found.comparison.proposed.weight_values() == {"a": 1.0, "b": 3.0}


@pytest.mark.parametrize(("weights", "said"), [({"c": 1.0}, "no weight"), ({"b": 4.0}, "above max")])
async def test_a_weight_that_is_unknown_or_out_of_its_bounds_is_refused(weights, said):
    desk = Desk(FusionProfile(formula="b * price", weights={"b": Weight(value=2.0, max=3.0)}))

    with pytest.raises(FormulaError, match=said) as refused:
        await desk.ask(weights=weights)

    assert refused.value.path == f"/weights/{next(iter(weights))}"


async def test_weights_of_a_learned_profile_do_not_exist():
    with pytest.raises(FormulaError, match="no weights"):
        await Desk(LearnedProfile(model="m", version=1)).ask(weights={"b": 4.0})


async def test_a_field_that_tells_nothing_apart_is_refused_with_those_that_do():
    with pytest.raises(InvalidField) as refused:
        await Desk().ask(segment_by="price")

    assert refused.value.path == "/segment_by"


async def test_units_that_do_not_go_together_are_warned_of():
    found = await Desk().ask("ctr + duration_seconds")

    assert "adds" in found.comparison.warnings[0].detail
    assert (await Desk().ask("ctr * duration_seconds")).comparison.warnings == ()


async def test_a_second_preview_meanwhile_is_told_to_come_back_and_the_next_one_is_answered():
    desk, begun, go_on = slow_desk()
    first = asyncio.create_task(desk.ask())
    await begun.wait()

    with pytest.raises(PreviewBusy) as refused:
        await desk.ask()
    go_on.set()

    assert refused.value.retry_after_s == 1.0
    assert (await first).kept == 1
    assert (await desk.ask()).kept == 1


async def test_a_caller_that_leaves_frees_the_desk():
    desk, begun, go_on = slow_desk()
    first = asyncio.create_task(desk.ask())
    await begun.wait()
    first.cancel()
    await asyncio.wait([first])
    go_on.set()

    assert (await desk.ask()).kept == 1


async def test_work_that_fails_frees_the_desk():
    async def broken(work, parts, *, budget_s):
        raise WorkerFailed("no")

    desk = Desk(run=broken)
    desk.see()

    for _ in range(2):
        with pytest.raises(WorkerFailed):
            await desk.ask()


def slow_desk():
    """A desk whose work waits to be told."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(work, parts, *, budget_s):
        begun.set()
        await go_on.wait()
        return await run_here(work, parts, budget_s=budget_s)

    desk = Desk(run=slowly)
    desk.see()
    return desk, begun, go_on
