"""Before any timing: both sides must give the same answer, or their speeds say nothing."""

from dataclasses import dataclass

import numpy as np
import orjson
from numpy.typing import NDArray

from training.benchmarks.serving.workloads import Ask
from training.errors import TrainingError

__all__ = ["Disagreement", "Ranking", "check_same", "rank_correlation", "read_ours", "read_peer"]

TOLERANCE = 1e-5
_TIE = 2e-6
"""Scores nearer than this are one score in float32 sums of another order: they may stand either way round."""


class Disagreement(TrainingError):
    """Two servers of the same weights gave different answers."""

    code = "answers_differ"


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """One side's answer.

    Args:
        order: Positions of the candidates as they were sent, best first, N.
        scores: Scores in that order, N.
    """

    order: NDArray[np.int64]
    scores: NDArray[np.float64]

    def by_position(self) -> NDArray[np.float64]:
        """Give the scores in the order in which the candidates were sent."""
        scores = np.empty_like(self.scores)
        scores[self.order] = self.scores
        return scores


def read_ours(body: bytes, ask: Ask) -> Ranking:
    """Read our columnar answer."""
    results = orjson.loads(body)["results"]
    position = {item_id: place for place, item_id in enumerate(ask.item_ids)}
    order = np.array([position[item_id] for item_id in results["item_id"]], np.int64)
    return Ranking(order=order, scores=np.array(results["score"], np.float64))


def read_peer(body: bytes) -> Ranking:
    """Read a peer's answer, plain or in the Open Inference Protocol."""
    document = orjson.loads(body)
    if "outputs" in document:
        document = {output["name"]: output["data"] for output in document["outputs"]}
    return Ranking(
        order=np.ravel(document["order"]).astype(np.int64), scores=np.ravel(document["score"]).astype(np.float64)
    )


def check_same(name: str, theirs: Ranking, ours: Ranking) -> float:
    """Give the largest difference of a score.

    Raises:
        Disagreement: When lists differ in length or order, or a score by more than 1e-5.
    """
    fix = "look at the weights and the request on both sides; nothing was timed"
    if sorted(theirs.order.tolist()) != sorted(ours.order.tolist()):
        raise Disagreement(f"{name} ranked {len(theirs.order)} candidates, ours {len(ours.order)}", fix=fix)
    wanted = theirs.by_position()
    difference = float(np.max(np.abs(wanted - ours.by_position())))
    if not difference <= TOLERANCE:
        raise Disagreement(f"scores of {name} and ours differ by {difference:.1e}, allowed is {TOLERANCE}", fix=fix)
    apart = (theirs.order != ours.order) & (np.abs(wanted[theirs.order] - wanted[ours.order]) > _TIE)
    if apart.any():
        raise Disagreement(f"{name} and ours differ in order from place {int(np.argmax(apart)) + 1} on", fix=fix)
    return difference


def rank_correlation(theirs: Ranking, ours: Ranking) -> float:
    """Give Spearman's rank correlation of the two orders."""
    first, second = (np.argsort(each.order).astype(np.float64) for each in (theirs, ours))
    return float(np.corrcoef(first, second)[0, 1])
