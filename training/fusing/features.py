"""The inputs of a learned fusion: heads and listed fields in a declared order, none of them an outcome."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contract.arrays import SideArrays
from contract.features import FeatureSchema, Numeric, Standard
from contract.fusion_bundle import FusionFeature
from training.data.columns import EncodedSplit
from training.data.declarations import LabelDeclaration
from training.data.leaks import refuse_leaks
from training.errors import InvalidOption, LabelLeak
from training.fusing.judging import Yardstick
from training.fusing.log import ImpressionLog, LogDocument
from training.fusing.utility import Gained

__all__ = ["RankingRows", "chosen_features", "feature_matrix", "ranking_rows", "refuse_leaking"]


@dataclass(frozen=True, kw_only=True)
class RankingRows:
    """What a ranker of heads learns from: R requests, N rows, F features.

    Args:
        features: float32 ``[N, F]``, NaN where missing.
        gains: float64 ``[N]``.
        offsets: int64 ``[R + 1]``.
        weights: How much each request counts, float64 ``[R]``, 1 in the mean.
    """

    features: NDArray[np.float32]
    gains: NDArray[np.float64]
    offsets: NDArray[np.int64]
    weights: NDArray[np.float64]


def chosen_features(document: LogDocument, heads: Sequence[str], fields: Sequence[str]) -> tuple[FusionFeature, ...]:
    """Name the columns of the graph's input: *heads*, or every head where none is named, then *fields*.

    Raises:
        LabelLeak: When one is an outcome.
        InvalidOption: When one is no such column.
    """
    chosen = [(name, "head", document.heads) for name in heads or document.heads]
    chosen += [(name, "field", document.fields) for name in fields]
    for name, kind, known in chosen:
        if name in document.outcomes:
            raise LabelLeak(f"{name!r} is an outcome: it is known only after the ranking", fix="leave it out")
        if name not in known:
            raise InvalidOption(f"the log has no {kind} {name!r}", fix=f"it has: {', '.join(known) or 'none'}")
    return tuple(FusionFeature(name=name, source="head" if kind == "head" else "field") for name, kind, _ in chosen)


def feature_matrix(log: ImpressionLog, features: Sequence[FusionFeature]) -> NDArray[np.float32]:
    """Give the graph's input, float32 ``[N, F]``; what is not finite is missing."""
    matrix = np.stack([log.columns[feature.name] for feature in features], axis=1).astype(np.float32)
    return np.where(np.isfinite(matrix), matrix, np.float32(np.nan))


def ranking_rows(gained: Gained, features: Sequence[FusionFeature], yardstick: Yardstick) -> RankingRows:
    """Lay inputs and gains beside each other."""
    return RankingRows(
        features=feature_matrix(gained.log, features),
        gains=gained.gains,
        offsets=gained.log.offsets,
        weights=yardstick.request_weights(gained.gains, gained.log.offsets),
    )


def refuse_leaking(log: ImpressionLog, features: Sequence[FusionFeature], *, allowed: Sequence[str] = ()) -> None:
    """Refuse inputs that give an outcome away: the guard of :mod:`training.data.leaks`, on a log.

    Raises:
        LabelLeak: Naming each such input, its outcome and the figure.
        InvalidOption: When an input that may is none.
    """
    plain = Standard(mean=0.0, std=1.0)
    schema = FeatureSchema(
        fields=tuple(Numeric(name=feature.name, side="candidate", scaling=plain) for feature in features)
    )
    outcomes = log.named(log.document.outcomes)
    split = EncodedSplit(
        request=SideArrays(
            ids=np.zeros((log.num_requests, 0), np.int64), dense=np.zeros((log.num_requests, 0), np.float32)
        ),
        candidate=SideArrays(ids=np.zeros((log.num_rows, 0), np.int64), dense=_filled(feature_matrix(log, features))),
        offsets=log.offsets,
        labels={name: column.astype(np.float32) for name, column in outcomes.items()},
        groups=np.zeros(log.num_requests, np.int64),
    )
    labels = [LabelDeclaration(name=name, kind=_kind(column)) for name, column in outcomes.items()]
    refuse_leaks(schema, split, labels, allowed=allowed)


def _filled(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give missing values one value below all others: a field that is empty before the click has to show."""
    below = np.nanmin(np.where(np.isnan(matrix), np.inf, matrix), axis=0)
    below = np.where(np.isfinite(below), below, 0.0)
    return np.where(np.isnan(matrix), (below - np.maximum(1.0, np.abs(below))).astype(np.float32), matrix)


def _kind(column: NDArray[np.float64]) -> str:
    known = column[~np.isnan(column)]
    return "binary" if np.isin(known, (0.0, 1.0)).all() else "regression"
