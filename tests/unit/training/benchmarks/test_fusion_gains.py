"""The benchmark of fusions, on a log whose heads are true: chosen on the earlier requests, judged on the later ones."""

import pytest

from contract.fusion import FusionProfile
from contract.weights import Weight
from tests.unit.training.fusing.logs import some_log
from training.benchmarks import fusion_gains
from training.benchmarks.fusion_gains import CASES, Case, run_case

CASE = Case(
    learning_rate=1e-3,
    utility="click + 0.01 * duration",
    hand=("price", "ctr"),
    searched=FusionProfile(formula="ctr + w * price", weights={"w": Weight(value=1.0, min=0, max=1)}),
    front=("click", "duration"),
    notes="Made up.",
)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setattr(fusion_gains, "TRIALS", 12)
    earlier, later = some_log(400), some_log(300, seed=5, first=399)
    earlier.requests[-1] = "of the first moment of the later log"
    yield run_case(CASE, earlier, later, tmp_path_factory.mktemp("graphs"))
    patch.undo()


def test_every_way_is_in_each_table_and_the_reference_gains_nothing_over_itself(outcome):
    for table in outcome.tables:
        assert [row.name for row in table] == ["default", "best head", "hand-tuned", "search", "lambdarank", "listnet"]
        assert (table[0].gain.low, table[0].gain.high) == (0, 0)
        for row in table:
            assert row.value.low <= row.value.value <= row.value.high


def test_what_an_operator_would_take_is_taken_on_the_earlier_requests(outcome):
    for table in outcome.tables:
        rows = {row.name: row for row in table}
        assert rows["hand-tuned"].formula == rows["best head"].formula == "`ctr`"
        assert rows["search"].formula.startswith("`ctr + ")


def test_requests_that_overlap_the_later_log_are_left_out_and_said_to_be(outcome):
    assert (outcome.chosen_on.num_requests, outcome.left_out) == (399, 1)
    assert outcome.chosen_on.times[-1] < outcome.judged_on.log.times[0]


def test_the_page_states_command_utility_requests_and_intervals(outcome, monkeypatch):
    monkeypatch.setitem(CASES, "made-up", CASE)

    page = "\n".join(fusion_gains.page_of({"made-up": outcome}))

    assert "make bench-fusion" in page
    assert "`click + 0.01 * duration`" in page
    assert "Chosen on 399 requests" in page
    assert "judged on 300" in page
    assert "Left out: 1 of validation" in page
    assert page.count("| **listnet** |") == 2
    assert "fusion-made-up.png" in page
    assert "95 %" in page
