"""Searches a formula's weights for a stated utility, or for the front between two.

Trials are chosen by TPE (J. Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NeurIPS 2011), all weights
together, by Optuna (T. Akiba et al., KDD 2019, https://doi.org/10.1145/3292500.3330701); with two utilities by its
multi-objective form (Y. Ozaki et al., GECCO 2020, https://doi.org/10.1145/3377930.3389817). The first trial is the
current profile, so what is found is never worse on the requests that were searched; whether it is better on later ones
is what the intervals say.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from contract.frozen import Frozen
from contract.fusion import FusionProfile
from contract.fusion_bundle import Utility
from training.errors import MissingExtra
from training.fusing.front import HasObjectives, non_dominated, thinned
from training.fusing.grid import Grid
from training.fusing.intervals import Interval, paired_bootstrap
from training.fusing.judging import Yardstick, places
from training.fusing.log import ImpressionLog
from training.fusing.profiles import CurrentProfile
from training.fusing.scoring import FormulaScorer
from training.fusing.splitting import check_later
from training.fusing.utility import Gained, gain

__all__ = ["SearchConfig", "SearchDocument", "SearchPoint", "Trial", "search"]

_MOST_POINTS = 20
_STARTUP = 20


class SearchConfig(Frozen):
    """A whole search.

    Args:
        utilities: One to raise, or two to trade.
        yardstick: What weights are judged by.
    """

    utilities: tuple[Utility, ...] = Field(min_length=1, max_length=2)
    yardstick: Yardstick = Yardstick()
    trials: int = Field(default=200, ge=1)
    seed: int = 0
    command: str = ""


class Trial(HasObjectives):
    """Weights that were tried, and what they gave on the searched requests, a value a utility."""

    weights: dict[str, float]


class SearchPoint(Trial):
    """Weights that no others beat.

    Args:
        later: The same measures on later requests, which were not searched.
        change: On those, the paired difference from the current profile.
    """

    later: tuple[Interval, ...]
    change: tuple[Interval, ...]


class SearchDocument(Frozen):
    """What a search found.

    Args:
        current: The profile that it started from; its weights have the bounds that were searched.
        now: The current weights, measured like the points.
        points: Best first with one utility; with two, the front from the best of the first utility to that of the
            second.
        searched_requests: Requests that decided.
        later_requests: Later ones, that the intervals are over.
    """

    schema_version: Literal[1] = 1
    config: SearchConfig
    current: CurrentProfile
    now: SearchPoint
    points: tuple[SearchPoint, ...]
    trials: tuple[Trial, ...]
    searched_requests: int
    later_requests: int
    data_fingerprint: str


class _Objectives:
    """The measures of one log, for any weights."""

    def __init__(self, profile: FusionProfile, log: ImpressionLog, config: SearchConfig) -> None:
        self._gained = _gained(config.utilities, log)
        self._scorer = FormulaScorer(profile, self._gained[0].log)
        self._offsets = self._gained[0].log.offsets
        self._yardstick = config.yardstick

    def by_request(self, weights: Mapping[str, float]) -> NDArray[np.float64]:
        """Give each measure of each request, ``[utilities, R]``, NaN where it says nothing."""
        place = places(self._scorer(weights), self._offsets)
        return np.stack([self._yardstick.by_request(each.gains, place, self._offsets) for each in self._gained])

    def __call__(self, weights: Mapping[str, float]) -> tuple[float, ...]:
        """Give each measure's mean."""
        return tuple(float(np.nanmean(row)) for row in self.by_request(weights))

    @property
    def requests(self) -> int:
        """Requests that are measured."""
        return len(self._offsets) - 1


def _gained(utilities: Sequence[Utility], log: ImpressionLog) -> list[Gained]:
    """Compute every utility on the rows for which all are known."""
    for utility in utilities:
        log = gain(utility, log).log
    return [gain(utility, log) for utility in utilities]


def search(
    earlier: ImpressionLog,
    later: ImpressionLog,
    current: CurrentProfile,
    config: SearchConfig,
    *,
    on_trial: Callable[[], None] = lambda: None,
) -> SearchDocument:
    """Try weights on earlier requests and judge the best of them on later ones.

    Args:
        current: Its weights have bounds; see :func:`training.fusing.grid.with_bounds`.

    Raises:
        TrainingError: When the logs overlap, a utility cannot be computed, or Optuna is not installed.
        FormulaError: When the formula reads what the log does not have.
    """
    check_later(earlier, later)
    profile = current.profile
    measured, judged = _Objectives(profile, earlier, config), _Objectives(profile, later, config)
    trials = _trials(profile, measured, config, on_trial)
    chosen = thinned([trials[i] for i in non_dominated([trial.objectives for trial in trials])], _MOST_POINTS)
    now, *points = _judge([trials[0], *chosen], judged, config)
    return SearchDocument(
        config=config,
        current=current,
        now=now,
        points=tuple(points),
        trials=tuple(trials),
        searched_requests=measured.requests,
        later_requests=judged.requests,
        data_fingerprint=earlier.fingerprint,
    )


def _trials(
    profile: FusionProfile, measured: _Objectives, config: SearchConfig, on_trial: Callable[[], None]
) -> list[Trial]:
    """Run the search; the current weights come first."""
    try:
        import optuna
    except ImportError:
        raise MissingExtra("the search needs Optuna", fix="pip install -r requirements/fuse.txt") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    grids = {name: Grid.of(weight) for name, weight in profile.weights.items()}
    space = {name: grid.distribution() for name, grid in grids.items()}
    sampler = optuna.samplers.TPESampler(seed=config.seed, multivariate=True, n_startup_trials=_STARTUP)
    study = optuna.create_study(directions=["maximize"] * len(config.utilities), sampler=sampler)
    tried = [Trial(weights=profile.weight_values(), objectives=measured(profile.weight_values()))]
    start = {name: grid.drawn(tried[0].weights[name]) for name, grid in grids.items()}
    if all(grid.holds(tried[0].weights[name]) for name, grid in grids.items()):
        values = list(tried[0].objectives)
        study.add_trial(optuna.trial.create_trial(params=start, distributions=space, values=values))
    for _ in range(config.trials):
        trial = study.ask(space)
        weights = {name: grid.weight(trial.params[name]) for name, grid in grids.items()}
        tried.append(Trial(weights=weights, objectives=measured(weights)))
        study.tell(trial, list(tried[-1].objectives))
        on_trial()
    return tried


def _judge(trials: Sequence[Trial], judged: _Objectives, config: SearchConfig) -> list[SearchPoint]:
    """Measure trials on later requests, the first of them as the reference."""
    by_trial = np.stack([judged.by_request(trial.weights) for trial in trials])
    intervals = [
        paired_bootstrap(by_trial[:, utility], 0, seed=config.seed) for utility in range(len(config.utilities))
    ]
    return [
        SearchPoint(
            weights=trial.weights,
            objectives=trial.objectives,
            later=tuple(own[i] for own, _ in intervals),
            change=tuple(apart[i] for _, apart in intervals),
        )
        for i, trial in enumerate(trials)
    ]
