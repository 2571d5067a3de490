"""Rankings side by side on one log: judged by the stated utility, each against one reference, request by request."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from contract.errors import FormulaError
from contract.frozen import Frozen
from contract.fusion import DEFAULT_FORMULA, FusionProfile
from training.fusing.intervals import Interval, paired_bootstrap
from training.fusing.judging import Yardstick, places
from training.fusing.log import ImpressionLog
from training.fusing.scoring import FormulaScorer
from training.fusing.utility import Gained

__all__ = ["Comparison", "Contender", "Judged", "best_of", "compare", "formula_contenders", "mean_of"]


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A way to score, by name.

    Args:
        profile: Its formula; None for a learned one, whose scores are given.
        scores: Of the log it is judged on, ``[N]``; None for a formula.
    """

    name: str
    profile: FusionProfile | None = None
    scores: NDArray[np.floating] | None = None

    def scored(self, log: ImpressionLog) -> NDArray[np.float64]:
        """Score a log."""
        if self.profile is None:
            return np.asarray(self.scores, dtype=np.float64)
        return FormulaScorer(self.profile, log)()


class Judged(Frozen):
    """How one contender did.

    Args:
        value: Mean over the requests that say something.
        difference: From the reference, on the same requests.
    """

    name: str
    formula: str | None = None
    weights: dict[str, float] = Field(default_factory=dict)
    value: Interval
    difference: Interval


class Comparison(Frozen):
    """All contenders on one log.

    Args:
        judged_requests: Requests that say something; NDCG says nothing of one without a gain.
        reference: Contender that differences are from.
        seed: Of the bootstrap.
    """

    yardstick: Yardstick
    requests: int
    rows: int
    judged_requests: int
    first_time: str
    last_time: str
    reference: str
    seed: int
    contenders: tuple[Judged, ...]


def formula_contenders(
    fit: Gained, yardstick: Yardstick, *, current: FusionProfile | None = None, found: FusionProfile | None = None
) -> list[Contender]:
    """Name the formulas to beat: the head that is best on *fit*, the default, the current profile, a found one."""
    document = fit.log.document
    heads = [Contender(name=f"best head, {head}", profile=FusionProfile(formula=head)) for head in document.heads]
    contenders = [best_of(heads, fit, yardstick)]
    named = {
        "default": FusionProfile(formula=DEFAULT_FORMULA),
        "current profile": current,
        "search": found,
    }
    for name, profile in named.items():
        if profile is None or (name == "default" and not _compiles(profile, fit.log)):
            continue
        contenders.append(Contender(name=name, profile=profile))
    return contenders


def _compiles(profile: FusionProfile, log: ImpressionLog) -> bool:
    try:
        FormulaScorer(profile, log)
    except FormulaError:
        return False
    return True


def best_of(contenders: Sequence[Contender], on: Gained, yardstick: Yardstick) -> Contender:
    """Give the contender that is best; the first of equals."""
    values = [mean_of(contender.scored(on.log), on, yardstick) for contender in contenders]
    return contenders[int(np.argmax(values))]


def mean_of(scores: NDArray[np.float64], on: Gained, yardstick: Yardstick) -> float:
    """Judge scores ``[N]`` by one number."""
    return yardstick.mean(scores, on.gains, on.log.offsets)


def compare(
    contenders: Sequence[Contender], on: Gained, yardstick: Yardstick, *, reference: str, seed: int
) -> Comparison:
    """Judge contenders on impressions that none of them was fitted on."""
    offsets = on.log.offsets
    values = np.stack([
        yardstick.by_request(on.gains, places(each.scored(on.log), offsets), offsets) for each in contenders
    ])  # fmt: skip
    names = [each.name for each in contenders]
    own, apart = paired_bootstrap(values, names.index(reference), seed=seed)
    return Comparison(
        yardstick=yardstick,
        requests=on.log.num_requests,
        rows=on.log.num_rows,
        judged_requests=int((~np.isnan(values[0])).sum()),
        first_time=str(on.log.times[0]),
        last_time=str(on.log.times[-1]),
        reference=reference,
        seed=seed,
        contenders=tuple(
            Judged(name=each.name, **_formula_of(each), value=value, difference=difference)
            for each, value, difference in zip(contenders, own, apart, strict=True)
        ),
    )


def _formula_of(contender: Contender) -> Mapping[str, object]:
    if contender.profile is None:
        return {}
    return {"formula": contender.profile.formula, "weights": contender.profile.weight_values()}
