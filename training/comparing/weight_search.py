"""Static weights, searched for: the baseline that balancers have to beat, and that often wins (LibMTL#39)."""

from collections.abc import Mapping, Sequence

import numpy as np

from contract.frozen import Frozen
from training.comparing.gains import mean_gains_percent
from training.comparing.runs import Contender, Run, Runner

__all__ = ["FACTOR", "SEARCH_SEED", "WeightSearch", "WeightTrial", "search_weights", "weight_grid"]

FACTOR = 3.0
"""How much more, or less, than the others one task weighs in a trial."""
SEARCH_SEED = 1_000
"""Apart from the seeds of the table, so that the table's runs of the found weights are new ones."""


class WeightTrial(Frozen):
    """Weights that were tried once.

    Args:
        weights: By task, 1 in the mean.
        gain_percent: Mean gain over tasks against the single-task reference, on the validation split.
    """

    weights: dict[str, float]
    gain_percent: float


class WeightSearch(Frozen):
    """All trials of one architecture.

    Args:
        found: The weights of the best trial; equal ones where none was better than those.
    """

    architecture: str
    trials: tuple[WeightTrial, ...]
    found: dict[str, float]

    @property
    def keeps_equal_weights(self) -> bool:
        """Whether no other weights did better."""
        return len(set(self.found.values())) == 1


def weight_grid(tasks: Sequence[str]) -> tuple[dict[str, float], ...]:
    """Give equal weights first, then each task at three times and at a third of the others; means are 1."""
    trials = [np.ones(len(tasks))]
    for position in range(len(tasks)):
        for factor in (FACTOR, 1.0 / FACTOR):
            weights = np.ones(len(tasks))
            weights[position] = factor
            trials.append(weights / weights.mean())
    distinct = {tuple(np.round(weights, 6).tolist()): weights for weights in trials}
    return tuple(dict(zip(tasks, weights.tolist(), strict=True)) for weights in distinct.values())


def search_weights(
    contender: Contender, alone: Sequence[Run], kinds: Mapping[str, str], runner: Runner
) -> WeightSearch:
    """Train a contender once with each weights of the grid, and judge them on the validation split.

    Args:
        alone: Runs of the reference.
        kinds: Task to its kind.
    """
    grid = weight_grid(tuple(kinds))
    jobs = [(_weighted(contender, weights, f"trial {i}"), SEARCH_SEED) for i, weights in enumerate(grid)]
    gains = [_gain(run, alone, kinds) for run in runner.run(jobs)]
    trials = tuple(WeightTrial(weights=w, gain_percent=gain) for w, gain in zip(grid, gains, strict=True))
    best = trials[int(np.argmax(gains))]  # the first of equals: equal weights stand first
    return WeightSearch(architecture=contender.config.arch, trials=trials, found=best.weights)


def _weighted(contender: Contender, weights: Mapping[str, float], name: str) -> Contender:
    config = contender.config.model_copy(update={"task_weights": dict(weights)})
    return contender.model_copy(update={"config": config, "name": f"{contender.name}, {name}"})


def _gain(run: Run, alone: Sequence[Run], kinds: Mapping[str, str]) -> float:
    return mean_gains_percent([run], alone, kinds, split="validation")[0]
