"""Everything that a comparison found, as the report is written, and its JSON, from."""

from collections.abc import Mapping, Sequence

import numpy as np

from contract.frozen import Frozen
from training.comparing.gains import MeanGain, TaskGain, is_seesaw, mean_gain, task_gains
from training.comparing.relations import LabelFacts, Relation
from training.comparing.runs import Contender, Run
from training.comparing.spread import Spread
from training.comparing.weight_search import WeightSearch
from training.gates import GateStatistics

__all__ = ["Advice", "Bias", "Comparison", "ContenderFindings", "Gate", "find"]

_COSINE = "cosine/"
_BIAS = {"binary": "predicted_over_observed", "duration": "bias_tre"}


class Bias(Frozen):
    """How far the predictions' total is off.

    Args:
        measure: ``predicted_over_observed`` of an event, 1 is right; ``bias_tre`` of a duration, 0 is right.
        off: Share by which the total is too large; below 0 too small.
    """

    task: str
    measure: str
    off: Spread


class Gate(Frozen):
    """One task's gate over seeds.

    Args:
        entropy_share: 1 is a plain mean of the experts, 0 a choice of one.
        seed: Of the run that *mean_weights* come from; experts have no order that seeds share.
        mean_weights: By expert.
    """

    task: str
    entropy_share: Spread
    seed: int
    mean_weights: dict[str, float]


class ContenderFindings(Frozen):
    """What was found of one contender.

    Args:
        hidden: Widths after they were matched.
        dense_parameters: Of one network; the reference has such a network for each task.
        networks: How many networks serve all tasks.
        weights: Of the tasks' losses; empty where all are 1.
        mean_gain: Over tasks; None where there was nothing to compare.
        cosines: Pair of tasks to its mean gradient cosine, by epoch.
        dead_experts: Names, by seed.
    """

    name: str
    architecture: str
    is_reference: bool
    note: str
    hidden: tuple[int, ...]
    dense_parameters: int
    networks: int
    weights: dict[str, float]
    gains: tuple[TaskGain, ...]
    mean_gain: MeanGain | None
    is_seesaw: bool
    cosines: dict[str, tuple[Spread, ...]]
    gates: tuple[Gate, ...]
    dead_experts: tuple[tuple[str, ...], ...]
    selected: dict[str, dict[str, Spread]]
    bias: tuple[Bias, ...]
    epochs: Spread
    seconds: Spread


class Advice(Frozen):
    """A sentence that follows from the numbers.

    Args:
        rule: Which rule says so; see :mod:`training.comparing.advice`.
        text: The sentence, with its numbers in it.
        evidence: Those numbers, by name.
    """

    rule: str
    text: str
    evidence: dict[str, float]


class Comparison(Frozen):
    """A whole report.

    Args:
        rows: By split.
        kinds: Task to its kind.
        budget: Dense parameters that every network was brought to.
        smallest_side: Test rows of each label's rarer class; of an amount, those that have it.
        weight_search: None where one task is all there is.
    """

    dataset: str
    data_fingerprint: str
    rows: dict[str, int]
    seeds: tuple[int, ...]
    epochs: int
    created: str
    commit: str
    machine: str
    command: str
    kinds: dict[str, str]
    labels: tuple[LabelFacts, ...]
    relations: tuple[Relation, ...]
    smallest_side: dict[str, int]
    budget: int
    contenders: tuple[ContenderFindings, ...]
    weight_search: WeightSearch | None
    advice: tuple[Advice, ...] = ()

    @property
    def reference(self) -> ContenderFindings:
        """Single-task networks of the same capacity."""
        return next(each for each in self.contenders if each.is_reference)

    @property
    def sharing(self) -> tuple[ContenderFindings, ...]:
        """All others."""
        return tuple(each for each in self.contenders if not each.is_reference)


def find(
    contender: Contender,
    runs: Sequence[Run],
    alone: Sequence[Run],
    kinds: Mapping[str, str],
    *,
    dense_parameters: int,
    networks: int,
) -> ContenderFindings:
    """Look at all runs of a contender.

    Args:
        alone: Runs of the reference.
        kinds: Task to its kind.
    """
    gains = task_gains(runs, alone, kinds)
    return ContenderFindings(
        name=contender.name,
        architecture=contender.config.arch,
        is_reference=contender.is_reference,
        note=contender.note,
        hidden=contender.config.model.hidden,
        dense_parameters=dense_parameters,
        networks=networks,
        weights=dict(contender.config.task_weights),
        gains=gains,
        mean_gain=mean_gain(runs, alone, kinds),
        is_seesaw=not contender.is_reference and is_seesaw(gains),
        cosines=_cosines(runs),
        gates=_gates(runs),
        dead_experts=tuple(run.gates.dead_experts for run in runs if run.gates is not None),
        selected=_selected(runs),
        bias=_bias(runs, kinds),
        epochs=Spread.of(run.epochs for run in runs),
        seconds=Spread.of(run.seconds for run in runs),
    )


def _cosines(runs: Sequence[Run]) -> dict[str, tuple[Spread, ...]]:
    """Average over the seeds that reached an epoch: early stopping ends runs at different ones."""
    pairs = sorted({name for run in runs for epoch in run.balance for name in epoch if name.startswith(_COSINE)})
    longest = max(len(run.balance) for run in runs)
    by_pair = {
        pair: [[run.balance[i][pair] for run in runs if pair in _epoch(run, i)] for i in range(longest)]
        for pair in pairs
    }
    return {
        pair.removeprefix(_COSINE).replace("/", " · "): tuple(Spread.of(values) for values in epochs if values)
        for pair, epochs in by_pair.items()
    }


def _epoch(run: Run, index: int) -> dict[str, float]:
    return run.balance[index] if index < len(run.balance) else {}


def _gates(runs: Sequence[Run]) -> tuple[Gate, ...]:
    gated: list[tuple[int, GateStatistics]] = [(run.seed, run.gates) for run in runs if run.gates is not None]
    if not gated:
        return ()
    seed, first = gated[0]
    return tuple(
        Gate(
            task=task,
            entropy_share=Spread.of(gates.tasks[task].entropy_share for _, gates in gated),
            seed=seed,
            mean_weights=gate.mean_weights,
        )
        for task, gate in first.tasks.items()
    )


def _selected(runs: Sequence[Run]) -> dict[str, dict[str, Spread]]:
    """Average a field's weight over seeds: fields, unlike experts, are the same in each."""
    chosen = [run.selected for run in runs if run.selected]
    if not chosen:
        return {}
    return {
        task: {field: Spread.of(each[task][field] for each in chosen) for field in fields}
        for task, fields in chosen[0].items()
    }


def _bias(runs: Sequence[Run], kinds: Mapping[str, str]) -> tuple[Bias, ...]:
    found = []
    for task, kind in kinds.items():
        measure = _BIAS.get(kind, "")
        values = [value for run in runs if (value := run.numbers["test"].get(task, {}).get(measure)) is not None]
        if len(values) == len(runs):
            shift = 1.0 if kind == "binary" else 0.0
            found.append(Bias(task=task, measure=measure, off=Spread.of(np.asarray(values) - shift)))
    return tuple(found)
