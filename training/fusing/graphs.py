"""Learned fusions as ONNX graphs, each checked against what it was made from."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from contract.fusion_bundle import FEATURES_INPUT, SCORE_OUTPUT
from training.errors import ParityError
from training.export import TOLERANCE, graph_session, quiet_exporter
from training.fusing.listnet import ListNet

__all__ = ["check_scores", "export_listnet", "graph_scores", "parity_rows"]

_EXAMPLE_ROWS = 7
_SIZES = (1, 2, 17, 256)
_MOST_ROWS = 20_000


def export_listnet(model: ListNet, path: Path) -> None:
    """Write the network as a graph ``features [N, F] -> score [N]``."""
    example = torch.zeros((_EXAMPLE_ROWS, len(model.mean)))
    with quiet_exporter():
        program = torch.onnx.export(
            model,
            (example,),
            input_names=[FEATURES_INPUT],
            output_names=[SCORE_OUTPUT],
            dynamic_shapes=({0: torch.export.Dim("N")},),
            dynamo=True,
            verbose=False,
        )
    assert program is not None  # noqa: S101 - the dynamo exporter always gives a program
    program.save(path, external_data=False)
    onnx.checker.check_model(str(path))


def graph_scores(path: Path, features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Run a graph over rows, ``[N]``."""
    scores: NDArray[np.float32] = graph_session(path).run([SCORE_OUTPUT], {FEATURES_INPUT: features})[0]
    return scores


def parity_rows(features: NDArray[np.float32], *, seed: int = 0) -> NDArray[np.float32]:
    """Give rows to compare on: real ones, the same with holes, far ones, and one that is missing throughout."""
    rng = np.random.default_rng(seed)
    real = features[rng.permutation(len(features))[:_MOST_ROWS]]
    holes = np.where(rng.random(real.shape) < 0.3, np.float32(np.nan), real)
    far = rng.normal(size=(64, features.shape[1])) * 10.0 ** rng.integers(-3, 7, size=(64, features.shape[1]))
    nothing = np.full((1, features.shape[1]), np.nan)
    return np.concatenate([real, holes, far, nothing]).astype(np.float32)


def check_scores(
    path: Path, wanted: Callable[[NDArray[np.float32]], NDArray[np.floating]], rows: NDArray[np.float32]
) -> float:
    """Compare a graph with its origin on all *rows*, and on their first 1, 2, 17 and 256 by themselves.

    Returns:
        The largest difference, relative to the score's size above 1.

    Raises:
        ParityError: When it is above 1e-5, or the graph gives another shape.
    """
    worst = 0.0
    for part in (rows, *(rows[:size] for size in _SIZES)):
        got, want = graph_scores(path, part), np.asarray(wanted(part), dtype=np.float64)
        size = np.maximum(1.0, np.abs(want))
        gap = float(np.max(np.abs(got - want) / size)) if got.shape == want.shape else float("inf")
        worst = max(worst, gap)
        if not gap <= TOLERANCE:
            raise ParityError(
                f"the exported fusion differs by {gap:.2g} from what it was made from, on {len(part)} rows",
                fix="it cannot be served; report it with the log",
            )
    return worst
