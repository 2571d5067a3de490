"""The two ways to learn a fusion, each from gained impressions to a checked graph."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from contract.fusion_bundle import FusionFeature
from training.fusing.features import feature_matrix, ranking_rows
from training.fusing.graphs import check_scores, export_listnet, graph_scores, parity_rows
from training.fusing.judging import Yardstick
from training.fusing.lambdarank import fit_lambdarank
from training.fusing.listnet import ListNet, fit_listnet
from training.fusing.log import ImpressionLog
from training.fusing.tree_graph import export_trees
from training.fusing.utility import Gained

__all__ = ["METHODS", "FusionGraph", "Method", "learn"]

Method = Literal["lambdarank", "listnet"]
METHODS: tuple[Method, ...] = ("lambdarank", "listnet")
_Scores = Callable[[NDArray[np.float32]], NDArray[np.floating]]


@dataclass(frozen=True, kw_only=True)
class FusionGraph:
    """A learned fusion on disk.

    Args:
        path: The ONNX graph.
        parity: Its largest difference from what it was made from.
    """

    method: Method
    features: tuple[FusionFeature, ...]
    path: Path
    parity: float

    def scores(self, log: ImpressionLog) -> NDArray[np.float64]:
        """Score a log, ``[N]``."""
        return graph_scores(self.path, feature_matrix(log, self.features)).astype(np.float64)


def learn(
    method: Method,
    fit: Gained,
    stop: Gained,
    features: tuple[FusionFeature, ...],
    folder: Path,
    *,
    yardstick: Yardstick,
    seed: int,
) -> FusionGraph:
    """Fit one method, write its graph into *folder* and check it.

    Args:
        stop: Later than *fit*; decides when to stop.
        yardstick: What it is fitted for.

    Raises:
        ParityError: When the graph differs by more than 1e-5.
        TrainingError: When it cannot be fitted.
    """
    path = folder / f"{method}.onnx"
    rows, stopping = (ranking_rows(part, features, yardstick) for part in (fit, stop))
    if method == "lambdarank":
        booster = fit_lambdarank(rows, stopping, k=yardstick.k, seed=seed)
        export_trees(booster, path)
        origin: _Scores = lambda x: np.asarray(booster.predict(x))  # noqa: E731
    else:
        network = fit_listnet(rows, stopping, seed=seed)
        export_listnet(network, path)
        origin = lambda x: _run(network, x)  # noqa: E731
    parity = check_scores(path, origin, parity_rows(stopping.features))
    return FusionGraph(method=method, features=features, path=path, parity=parity)


@torch.no_grad()
def _run(network: ListNet, x: NDArray[np.float32]) -> NDArray[np.float32]:
    scores: NDArray[np.float32] = network(torch.from_numpy(x)).numpy()
    return scores
