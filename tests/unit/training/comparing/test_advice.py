"""Every rule speaks above its threshold, is silent below it, and cites the report's own numbers."""

import re
from pathlib import Path

import pytest

from tests.comparisons import comparison, contender, gate, spread
from training.comparing import gain_rules, structure_rules
from training.comparing.advice import RULES, advise
from training.comparing.findings import Bias
from training.comparing.relations import LabelFacts, Relation
from training.comparing.spread import Spread
from training.comparing.weight_search import WeightSearch, WeightTrial

PAGE = Path(__file__).parents[4] / "docs" / "how-to" / "choose-an-architecture.md"


def _said(rule, *contenders, **found):
    return [advice.text for advice in RULES[rule](comparison(*contenders, **found))]


def _related(pearson):
    return Relation(
        first="ctr", second="duration", rows=100, pearson=pearson, spearman=pearson,
        first_given_second=None, second_given_first=None,
    )  # fmt: skip


def _biased(task, off, error=0.0):
    return (Bias(task=task, measure="bias_tre", off=spread(off, error)),)


def test_two_seeds_are_called_few_and_three_are_not():
    assert "2 seeds" in _said("few_seeds", seeds=(0, 1))[0]
    assert _said("few_seeds", seeds=(0, 1, 2)) == []


def test_a_test_split_with_few_positives_is_called_small():
    [text] = _said("small_test", smallest_side={"ctr": 99, "duration": 100})

    assert "ctr 99" in text
    assert "duration" not in text


def test_the_simplest_of_those_level_with_the_best_is_taken():
    """PLE leads by less than one standard error of the difference, so it is not worth its weight."""
    [text] = _said("architecture", contender("ple", mean=1.05), contender("shared_bottom", mean=1.0))

    assert text.startswith("Take shared_bottom: +1.00 % ± 0.10")
    assert "ple is within one standard error" in text


def test_an_architecture_that_is_ahead_beyond_noise_is_taken_however_complex():
    [text] = _said("architecture", contender("ple", mean=2.0), contender("shared_bottom", mean=1.0))

    assert text.startswith("Take ple: +2.00 %")
    assert "shared_bottom" not in text


def test_no_gain_beyond_noise_is_said_to_be_as_good_with_fewer_networks():
    [text] = _said("architecture", contender("mmoe", mean=0.05))

    assert "as good as single-task networks" in text
    assert "one network instead of 2" in text


def test_where_sharing_loses_single_task_networks_are_advised():
    [text] = _said("architecture", contender("mmoe", mean=-1.0), contender("ple", mean=-2.0))

    assert "take `single_task`" in text
    assert "mmoe" in text
    assert "-1.00 %" in text


def test_one_seed_does_not_choose_an_architecture():
    [text] = _said("architecture", contender("mmoe", mean=5.0, seeds=1), contender("ple", mean=9.0, seeds=1))

    assert "One seed cannot tell" in text


def test_an_architecture_that_drops_a_task_is_not_chosen():
    [text] = _said("architecture", contender("sample_weighting", mean_gain=None), contender("mmoe", mean=1.0))

    assert "Take mmoe" in text


def test_a_task_that_loses_is_pointed_to_what_spares_it():
    [text] = _said("task_loses", contender("mmoe", {"ctr": -1.5}), contender("ple", {"ctr": 0.2}))

    assert text == "ctr loses by sharing (AUC -1.50 % with mmoe); it does not lose with ple."


def test_a_task_that_loses_everywhere_is_pointed_to_ple_until_that_was_tried():
    without = _said("task_loses", contender("mmoe", {"ctr": -1.5}))
    tried = _said("task_loses", contender("mmoe", {"ctr": -1.5}), contender("ple", {"ctr": -0.5}))

    assert "compare `ple`" in without[0]
    assert "`single_task`" in tried[0]


def test_a_loss_within_one_standard_error_is_no_loss():
    assert _said("task_loses", contender("mmoe", {"ctr": -0.09})) == []


def test_a_seesaw_names_both_its_ends():
    [text] = _said("seesaw", contender("mmoe", {"ctr": 0.8, "duration": -0.4}, is_seesaw=True))

    assert "ctr +0.80 %" in text
    assert "duration -0.40 %" in text
    assert _said("seesaw", contender("mmoe", {"ctr": 0.8, "duration": 0.4})) == []


def test_labels_that_correlate_strongly_need_one_gate():
    """ "correlation .91: one gate is enough", where nothing with more gates did better."""
    level = (contender("shared_bottom", mean=1.0), contender("mmoe", mean=1.05))

    [text] = _said("one_gate", *level, relations=(_related(0.91),))

    assert "0.91" in text
    assert "one gate" in text
    assert _said("one_gate", *level, relations=(_related(0.79),)) == []


def test_labels_that_oppose_each_other_strongly_need_one_gate_too():
    assert _said("one_gate", contender("shared_bottom", mean=1.0), relations=(_related(-0.91),))


def test_one_gate_is_not_advised_against_the_numbers_nor_without_them():
    ahead = (contender("shared_bottom", mean=1.0), contender("mmoe", mean=2.0))

    assert _said("one_gate", *ahead, relations=(_related(0.91),)) == []
    assert _said("one_gate", contender("mmoe", mean=2.0), relations=(_related(0.91),)) == []
    assert _said("one_gate", *ahead[:1], relations=(_related(None),)) == []


def test_dead_experts_in_most_seeds_lower_num_experts():
    [text] = _said("dead_experts", contender("mmoe", dead_experts=(("shared:1",), (), ("shared:0",))))

    assert "1 dead expert (2 of 3 seeds)" in text
    assert "`num_experts` by 1" in text
    assert _said("dead_experts", contender("mmoe", dead_experts=(("shared:1",), (), ()))) == []


def test_a_gate_that_settled_on_one_expert_is_told():
    settled = contender("mmoe", gates=(gate("ctr", [0.97, 0.03], 0.19), gate("duration", [0.5, 0.5], 0.9)))

    [text] = _said("polarised_gates", settled)

    assert "ctr at 0.19" in text
    assert "duration" not in text
    assert _said("polarised_gates", contender("mmoe", gates=(gate("ctr", [0.9, 0.1], 0.21),))) == []


def test_gates_that_choose_nothing_are_told():
    idle = contender("mmoe", gates=(gate("ctr", [0.5, 0.5], 0.999), gate("duration", [0.505, 0.495], 0.999)))

    assert "`shared_bottom` would do the same" in _said("idle_gates", idle)[0]


@pytest.mark.parametrize(("weights", "entropy"), [([0.55, 0.45], 0.99), ([0.5, 0.5], 0.97)])
def test_gates_that_differ_or_choose_are_not_idle(weights, entropy):
    busy = contender("mmoe", gates=(gate("ctr", [0.5, 0.5], 0.999), gate("duration", weights, entropy)))

    assert _said("idle_gates", busy) == []


def test_gradients_that_pull_apart_are_told_with_their_mean_cosine():
    epochs = (Spread(mean=-0.3, std=0.0, seeds=3), Spread(mean=-0.1, std=0.0, seeds=3))

    [text] = _said("gradient_conflict", contender("mmoe", cosines={"ctr · duration": epochs}))

    assert "mean cosine -0.20" in text
    assert "pcgrad" in text
    mild = {"ctr · duration": (Spread(mean=-0.09, std=0.0, seeds=3),)}
    assert _said("gradient_conflict", contender("mmoe", cosines=mild)) == []


def _search(found):
    equal = WeightTrial(weights={"ctr": 1.0, "duration": 1.0}, gain_percent=0.0)
    other = WeightTrial(weights={"ctr": 1.5, "duration": 0.5}, gain_percent=1.0)
    return WeightSearch(architecture="mmoe", trials=(equal, other), found=found)


TUNED = {"ctr": 1.5, "duration": 0.5}


@pytest.mark.parametrize(
    ("mean", "said"), [(2.0, "Weigh the tasks"), (1.1, "no difference"), (0.0, "Leave the tasks' weights equal")]
)
def test_tuned_weights_are_advised_only_where_they_beat_equal_ones_on_test(mean, said):
    tuned = contender("mmoe (tuned weights)", mean=mean, weights=TUNED)

    [text] = _said("static_weights", contender("mmoe", mean=1.0), tuned, weight_search=_search(TUNED))

    assert said in text
    assert "--task-weight ctr=1.5 --task-weight duration=0.5" in text


def test_equal_weights_that_won_the_search_stay():
    search = _search({"ctr": 1.0, "duration": 1.0})

    assert "none of 2 settings did better" in _said("static_weights", contender("mmoe"), weight_search=search)[0]


def test_biased_durations_want_another_debias_and_biased_events_a_calibration():
    [duration] = _said("bias", contender("mmoe", bias=_biased("duration", -0.06)))
    [event] = _said("bias", contender("mmoe", bias=_biased("ctr", 0.11)))

    assert "-6.0%" in duration
    assert "--debias" in duration
    assert "calibration" in event


def test_bias_below_its_threshold_or_within_noise_is_not_told():
    assert _said("bias", contender("mmoe", bias=_biased("duration", 0.049))) == []
    assert _said("bias", contender("mmoe", bias=_biased("ctr", 0.09))) == []
    assert _said("bias", contender("mmoe", bias=_biased("duration", 0.06, error=0.02))) == []


def test_a_label_that_waits_for_a_rare_one_is_pointed_to_entire_space_models():
    def label(defined, given):
        return LabelFacts(name="like", kind="binary", rows=10, defined=defined, mean=0.3, given=given)

    assert "`esmm`" in _said("funnel", labels=(label(0.12, "ctr"),))[0]
    assert _said("funnel", labels=(label(0.6, "ctr"),)) == []
    assert _said("funnel", labels=(label(0.12, None),)) == []


def test_every_number_in_the_evidence_stands_in_the_sentence():
    """Advice has to cite what it follows from."""
    speaking = comparison(
        contender("shared_bottom", {"ctr": -1.5, "duration": 1.5}, is_seesaw=True, bias=_biased("duration", 0.2)),
        contender(
            "mmoe",
            {"ctr": -2.5, "duration": 2.5},
            gates=(gate("ctr", [1.0, 0.0], 0.1),),
            dead_experts=(("shared:1",),) * 3,
            cosines={"ctr · duration": (Spread(mean=-0.2, std=0.0, seeds=3),)},
        ),
        relations=(_related(0.91),),
        smallest_side={"ctr": 7, "duration": 500},
    )

    advice = advise(speaking)

    assert {each.rule for each in advice} >= {"small_test", "architecture", "task_loses", "seesaw", "bias"}
    for each in advice:
        told = [float(number) for number in re.findall(r"-?\d+\.?\d*", each.text)]
        shown = [value for name, value in each.evidence.items() if not name.endswith("gain_percent")]
        for value in shown:
            assert any(abs(value - n) < 0.01 or abs(100 * value - n) < 0.1 for n in told), (each, value)


def test_the_how_to_lists_every_rule_with_its_threshold():
    page = PAGE.read_text()
    thresholds = {
        name: getattr(module, name)
        for module in (gain_rules, structure_rules)
        for name in module.__all__
        if name.isupper()
    }

    for rule in RULES:
        assert f"| `{rule}` |" in page, rule
    for name, value in thresholds.items():
        assert f"`{name}` = {value}" in page, name
