"""LambdaRank over heads, by LightGBM: trees that are grown to raise NDCG of the stated utility.

C. Burges, "From RankNet to LambdaRank to LambdaMART: An Overview", MSR-TR-2010-82, 2010.
G. Ke et al., "LightGBM: A Highly Efficient Gradient Boosting Decision Tree", NeurIPS 2017.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from training.errors import MissingExtra, UtilityError
from training.fusing.features import RankingRows

if TYPE_CHECKING:
    import lightgbm

__all__ = ["GainLevels", "fit_lambdarank"]

_ROUNDS, _PATIENCE = 400, 40
_MOST_LEVELS = 64
_LEAF_ROWS = 20, 300
_LONGEST = 10_000  # LightGBM's own limit of candidates a request
_SETTINGS = {
    "objective": "lambdarank",
    "metric": "ndcg",
    "learning_rate": 0.05,
    "num_leaves": 7,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 1.0,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}


@dataclass(frozen=True, kw_only=True)
class GainLevels:
    """Gains as the few whole-numbered grades that LambdaRank takes, and what each grade is worth.

    Args:
        edges: Lowest gain of grade 2, 3, …; grade 0 is no gain at all.
        worth: Mean gain of each grade.
    """

    edges: NDArray[np.float64]
    worth: NDArray[np.float64]

    @classmethod
    def of(cls, gains: NDArray[np.float64]) -> "GainLevels":
        """Take each distinct gain as a grade, or quantiles of the gains above 0 where there are more than 64.

        Raises:
            UtilityError: When no gain is above 0.
        """
        positive = gains[gains > 0]
        if not len(positive):
            raise UtilityError("no impression to fit on has a gain", fix="bring more impressions")
        values = np.unique(positive)
        if len(values) > _MOST_LEVELS:
            shares = np.arange(1, _MOST_LEVELS) / _MOST_LEVELS
            values = np.unique(np.r_[values[0], np.quantile(positive, shares, method="higher")])
        bare = cls(edges=values[1:], worth=np.zeros(0))
        grades = bare.grades(positive)
        return cls(edges=values[1:], worth=np.bincount(grades, weights=positive) / np.maximum(np.bincount(grades), 1))

    def grades(self, gains: NDArray[np.float64]) -> NDArray[np.int32]:
        """Grade gains, ``[N]``."""
        above = 1 + np.searchsorted(self.edges, gains, side="right")
        return np.where(gains > 0, above, 0).astype(np.int32)


def fit_lambdarank(fit: RankingRows, stop: RankingRows, *, k: int, seed: int, threads: int = 1) -> "lightgbm.Booster":
    """Grow trees on *fit* until NDCG@k on *stop*, which is later, no longer rises.

    Raises:
        MissingExtra: When LightGBM is not installed.
        UtilityError: When nothing to fit on has a gain, or a request has more candidates than LightGBM takes.
    """
    try:
        import lightgbm
    except ImportError:
        raise MissingExtra("LambdaRank needs LightGBM", fix="pip install -r requirements/fuse.txt") from None
    longest = int(max(np.diff(fit.offsets).max(), np.diff(stop.offsets).max()))
    if longest > _LONGEST:
        raise UtilityError(f"a request has {longest} candidates, and LambdaRank takes {_LONGEST}", fix="log fewer")
    levels = GainLevels.of(fit.gains)
    train = lightgbm.Dataset(fit.features, **_told(fit, levels))
    valid = lightgbm.Dataset(stop.features, reference=train, **_told(stop, levels))
    settings = {
        **_SETTINGS,
        "label_gain": levels.worth.tolist(),
        "eval_at": [k],
        "lambdarank_truncation_level": k + 5,
        "min_data_in_leaf": int(np.clip(len(fit.gains) // 20, *_LEAF_ROWS)),
        "seed": seed,
        "num_threads": threads,
    }
    return lightgbm.train(
        settings,
        train,
        num_boost_round=_ROUNDS,
        valid_sets=[valid],
        callbacks=[lightgbm.early_stopping(_PATIENCE, verbose=False)],
    )


def _told(rows: RankingRows, levels: GainLevels) -> dict[str, Any]:
    """Give what LightGBM has to know of rows; a request's weight stands at each of its rows."""
    lengths = np.diff(rows.offsets)
    return {
        "label": levels.grades(rows.gains),
        "group": lengths,
        "weight": np.repeat(rows.weights, lengths) if (rows.weights != 1.0).any() else None,
    }
