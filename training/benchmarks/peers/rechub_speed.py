"""Rows a second of torch-rechub's MTLTrainer on flat columns; runs in an environment of its own, without Fulcrum.

    python rechub_speed.py COLUMNS.npz EXPERTS HIDDEN EMBEDDING   →  one JSON line

COLUMNS.npz holds ``ids`` int64 ``[N, F]``, ``labels`` float32 ``[N, T]`` and ``vocabulary``. Two figures are given: the
trainer as its users run it, and a bare loop over the same model with batches cut from tensors in memory.
"""

import contextlib
import io
import json
import sys
import time

import numpy as np
import torch
from torch.utils.data import DataLoader
from torch_rechub.basic.features import SparseFeature
from torch_rechub.models.multi_task import MMOE
from torch_rechub.trainers import MTLTrainer
from torch_rechub.utils.data import TorchDataset

BATCH = 2_048
THREADS = 2
# Rows before the clock starts: libraries pick kernels and fill their pools on the first batches.
WARM_UP = 40_960


def main(columns: str, experts: str, hidden: str, embedding: str) -> None:
    """Time one epoch each way."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    with np.load(columns) as stored:
        ids, labels, vocabulary = stored["ids"], stored["labels"], int(stored["vocabulary"])
    names = [f"f{number}" for number in range(ids.shape[1])]
    features = [SparseFeature(name, vocabulary, embed_dim=int(embedding)) for name in names]
    types = ["classification"] * labels.shape[1]
    model = MMOE(
        features,
        types,
        int(experts),
        {"dims": [int(width) for width in hidden.split(",")], "dropout": 0.0},
        [{"dims": [32]}] * labels.shape[1],
    )
    trainer = MTLTrainer(model, types, optimizer_params={"lr": 1e-3}, n_epoch=1)
    x = {name: ids[:, column] for column, name in enumerate(names)}
    _epoch(trainer, {name: column[:WARM_UP] for name, column in x.items()}, labels[:WARM_UP])
    begin = time.perf_counter()
    _epoch(trainer, x, labels)
    as_run = len(ids) / (time.perf_counter() - begin)
    print(json.dumps({"trainer": as_run, "bare": _bare(model, x, labels)}))  # noqa: T201 - a pipe reads it


def _epoch(trainer: MTLTrainer, x: dict[str, np.ndarray], labels: np.ndarray) -> None:
    loader = DataLoader(TorchDataset(x, labels), batch_size=BATCH, shuffle=True)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        trainer.train_one_epoch(loader)


def _bare(model: MMOE, x: dict[str, np.ndarray], labels: np.ndarray) -> float:
    tensors = {name: torch.from_numpy(np.ascontiguousarray(column)) for name, column in x.items()}
    wanted = torch.from_numpy(labels)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    loss_of = torch.nn.BCELoss()
    begin = time.perf_counter()
    for start in range(0, len(labels), BATCH):
        batch = {name: column[start : start + BATCH] for name, column in tensors.items()}
        optimiser.zero_grad()
        answers, truth = model(batch), wanted[start : start + BATCH]
        loss = sum(loss_of(answers[:, task], truth[:, task]) for task in range(labels.shape[1])) / labels.shape[1]
        loss.backward()
        optimiser.step()
    return len(labels) / (time.perf_counter() - begin)


if __name__ == "__main__":
    main(*sys.argv[1:])
