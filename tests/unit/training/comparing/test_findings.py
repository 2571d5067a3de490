"""What is summed up over the seeds of one contender, and what is not."""

import pytest

from tests.comparisons import KINDS, run
from training.comparing.findings import find
from training.comparing.runs import Contender
from training.config import TrainConfig
from training.gates import GateStatistics, TaskGate

NUMBERS = {"ctr": {"auc": 0.7, "predicted_over_observed": 1.2}, "duration": {"mae_log": 1.0, "bias_tre": -0.1}}
CONTENDER = Contender(name="mmoe", config=TrainConfig(data="x", arch="mmoe"))


def _found(*runs):
    alone = [run("single_task", seed, test=NUMBERS) for seed in range(2)]
    return find(CONTENDER, runs, alone, KINDS, dense_parameters=1, networks=1)


def _gates(first, second):
    weights = {"shared:0": first, "shared:1": second}
    return GateStatistics(
        tasks={"ctr": TaskGate(mean_weights=weights, entropy_nats=0.1, entropy_share=first)},
        dead_experts=("shared:1",) if second == 0 else (),
    )


def test_cosines_are_averaged_over_the_seeds_that_reached_an_epoch():
    """Early stopping ends one seed before another."""
    runs = (
        run("mmoe", 0, test=NUMBERS, balance=({"cosine/ctr/duration": 0.2, "weight/ctr": 1.0},)),
        run("mmoe", 1, test=NUMBERS, balance=({"cosine/ctr/duration": 0.4}, {"cosine/ctr/duration": -0.6})),
    )

    [(pair, epochs)] = _found(*runs).cosines.items()

    assert pair == "ctr · duration"
    assert [epoch.mean for epoch in epochs] == pytest.approx([0.3, -0.6])
    assert [epoch.seeds for epoch in epochs] == [2, 1]


def test_gate_weights_are_of_one_seed_for_experts_have_no_order_that_seeds_share():
    """The mean of [.9, .1] and [0, 1] would say that both are used alike."""
    runs = (run("mmoe", 0, test=NUMBERS, gates=_gates(0.9, 0.1)), run("mmoe", 1, test=NUMBERS, gates=_gates(1.0, 0.0)))

    found = _found(*runs)

    assert found.gates[0].mean_weights == {"shared:0": 0.9, "shared:1": 0.1}
    assert found.gates[0].entropy_share.mean == pytest.approx(0.95)
    assert found.dead_experts == ((), ("shared:1",))


def test_selected_fields_are_averaged_for_they_are_the_same_in_every_seed():
    runs = tuple(run("info_select", s, test=NUMBERS, selected={"ctr": {"price": w}}) for s, w in ((0, 0.2), (1, 0.6)))

    assert _found(*runs).selected["ctr"]["price"].mean == pytest.approx(0.4)


def test_bias_is_how_far_a_total_is_off():
    bias = {
        each.task: each.off.mean for each in _found(run("mmoe", 0, test=NUMBERS), run("mmoe", 1, test=NUMBERS)).bias
    }

    assert bias == {"ctr": pytest.approx(0.2), "duration": pytest.approx(-0.1)}


def test_what_a_model_does_not_have_is_left_out():
    found = _found(run("mmoe", 0, test=NUMBERS), run("mmoe", 1, test=NUMBERS))

    assert (found.cosines, found.gates, found.selected, found.dead_experts) == ({}, (), {}, ())
