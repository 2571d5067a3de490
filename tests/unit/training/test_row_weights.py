"""Which rows count for which task, and how much: weights of rows, and labels that are not there."""

from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
import torch

from contract.tasks import BinaryTask, DurationTask
from training.config import OptimConfig, TrainConfig
from training.data.columns import encode_split
from training.data.format import DatasetInfo, DatasetWriter, FieldDeclaration, LabelDeclaration, open_dataset
from training.data.schema import fit_schema
from training.inputs import as_tensors
from training.models.base import ModelConfig
from training.models.registry import build_model
from training.trainer import fit, predict

TASKS = (BinaryTask(name="ctr"), DurationTask(name="duration", given="ctr"))
NET = ModelConfig(embedding_dim=3, hidden=(8, 4), tower_hidden=(4,), num_experts=2, dropout=0.0)
ARCHS = ["shared_bottom", "mmoe"]


def _config(arch, *, epochs=1, **optim):
    """One step an epoch, unless *optim* says otherwise."""
    given = {"batch_requests": 10_000, "learning_rate": 0.02, "weight_decay": 0.0, "patience": 99} | optim
    return TrainConfig(data="", arch=arch, epochs=epochs, model=NET, optim=OptimConfig(**given))


def _rows(lists, seed=0):
    """Give plain rows: lists of candidates with their labels; durations of clicked rows alone."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(lists):
        size = int(rng.integers(2, 6))
        clicks = (rng.random(size) < 0.5).astype(float)
        rows.append(
            {
                "device": int(rng.integers(0, 3)),
                "item_id": [f"i{number}" for number in rng.integers(0, 9, size=size)],
                "price": rng.normal(size=size).tolist(),
                "ctr": clicks.tolist(),
                "duration": [float(rng.gamma(2.0, 20.0)) if click else None for click in clicks],
                "weight": [1.0] * size,
            }
        )
    return rows


def _dataset(path, rows, *, weighted=True):
    """Write rows; they are also the validation split, so that what training did can be read off it."""
    info = DatasetInfo(
        name="weighed",
        fields=(
            FieldDeclaration(name="device", side="request", kind="categorical", dtype="int"),
            FieldDeclaration(name="item", side="candidate", kind="categorical", dtype="string"),
            FieldDeclaration(name="price", side="candidate", kind="numeric", dtype="float"),
        ),
        labels=(LabelDeclaration(name="ctr", kind="binary"), LabelDeclaration(name="duration", kind="duration")),
        weight="weight" if weighted else None,
        default_formula="ctr",
    )
    with DatasetWriter(path, info) as writer:
        for day, split in enumerate(("train", "validation")):
            table = [
                {
                    **row,
                    "request_id": f"r{number}",
                    "user_id": "u",
                    "item": row["item_id"],
                    "time": datetime(2026, 1, 1 + day) + timedelta(minutes=number),  # noqa: DTZ001
                }
                for number, row in enumerate(rows)
            ]
            writer.write(split, pa.Table.from_pylist(table, info.arrow_schema()))
    return open_dataset(path)


def _trained(path, rows, arch, *, schema=None, weighted=True, **optim):
    """Train one epoch and give the model, its history and the encoded rows."""
    dataset = _dataset(path / "data", rows, weighted=weighted)
    schema = schema or fit_schema(dataset)
    splits = [encode_split(dataset, split, schema, path / split) for split in ("train", "validation")]
    torch.manual_seed(0)
    model = build_model(arch, schema, TASKS, NET)
    history = fit(model, *splits, _config(arch, **optim))
    return model, history, splits[0], schema


def _parameters(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def _weighed(rows, weights):
    numbers = iter(weights)
    return [row | {"weight": [next(numbers) for _ in row["item_id"]]} for row in rows]


def _count(rows):
    return sum(len(row["item_id"]) for row in rows)


@pytest.mark.parametrize("arch", ARCHS)
def test_doubling_every_weight_changes_nothing(arch, tmp_path):
    rows = _rows(30)
    weights = np.random.default_rng(1).choice([0.0, 0.5, 1.0, 3.0], size=_count(rows))

    once, first, _, _ = _trained(tmp_path / "once", _weighed(rows, weights), arch, batch_requests=8)
    twice, second, _, _ = _trained(tmp_path / "twice", _weighed(rows, 2 * weights), arch, batch_requests=8)

    assert first == second
    for name, value in _parameters(once).items():
        assert torch.equal(value, _parameters(twice)[name]), name


@pytest.mark.parametrize("arch", ARCHS)
def test_weights_that_are_all_the_same_are_no_weights(arch, tmp_path):
    rows = _rows(30)

    weighed, first, _, _ = _trained(tmp_path / "a", _weighed(rows, [7.0] * _count(rows)), arch)
    plain, second, _, _ = _trained(tmp_path / "b", rows, arch, weighted=False)

    assert first == second
    for name, value in _parameters(weighed).items():
        assert torch.equal(value, _parameters(plain)[name]), name


def _repeated(rows, counts):
    """Lay every candidate down as many times as its count says."""
    numbers = iter(counts)
    out = []
    for row in rows:
        own = [next(numbers) for _ in row["item_id"]]
        lists = {name: np.repeat(np.array(values, dtype=object), own).tolist() for name, values in row.items() if
                 isinstance(values, list)}  # fmt: skip
        out.append(row | lists)
    return out


@pytest.mark.parametrize("arch", ARCHS)
def test_a_row_of_weight_three_trains_as_the_same_row_three_times(arch, tmp_path):
    rows = _rows(20)
    counts = np.random.default_rng(2).choice([1, 2, 3], size=_count(rows))
    *_, schema = _trained(tmp_path / "schema", rows, arch)  # both runs scale their numbers alike

    heavy, first, _, _ = _trained(tmp_path / "a", _weighed(rows, counts.astype(float)), arch, schema=schema, epochs=4)
    often, second, _, _ = _trained(tmp_path / "b", _repeated(rows, counts), arch, schema=schema, epochs=4)
    _, plain, _, _ = _trained(tmp_path / "c", rows, arch, schema=schema, epochs=4)

    assert len(first) == len(second) == 4
    for mine, theirs, other in zip(first, second, plain, strict=True):
        assert mine.train == pytest.approx(theirs.train, rel=1e-4)
        assert mine.validation == pytest.approx(theirs.validation, rel=1e-4)
        assert mine.train != pytest.approx(other.train, rel=1e-3)
    for name, value in _parameters(heavy).items():
        torch.testing.assert_close(value, _parameters(often)[name], atol=1e-3, rtol=1e-3)


def test_a_row_of_weight_zero_teaches_nothing(tmp_path):
    rows = _rows(20)
    weights = np.ones(_count(rows))
    weights[::3] = 0.0
    spoiled = _weighed(rows, weights)
    position = 0
    for row in spoiled:
        for n in range(len(row["item_id"])):
            if position % 3 == 0:
                row["ctr"][n] = 1.0 - row["ctr"][n]
            position += 1

    _, first, _, _ = _trained(tmp_path / "a", _weighed(_rows(20), weights), "mmoe")
    _, second, _, _ = _trained(tmp_path / "b", spoiled, "mmoe")

    assert first[0].train["ctr"] == second[0].train["ctr"]


def _without_durations(rows, every):
    """Take the durations of all but each *every*-th list away, as if their log had been lost."""
    return [
        row if number % every == 0 else row | {"duration": [None] * len(row["item_id"])}
        for number, row in enumerate(rows)
    ]


@pytest.mark.parametrize("arch", ARCHS)
def test_a_label_that_nobody_has_gives_its_task_no_gradient(arch, tmp_path):
    rows = [row | {"duration": [None] * len(row["item_id"])} for row in _rows(20)]
    dataset = _dataset(tmp_path / "data", rows)
    schema = fit_schema(dataset)
    splits = [encode_split(dataset, split, schema, tmp_path / split) for split in ("train", "validation")]
    torch.manual_seed(0)
    model = build_model(arch, schema, TASKS, NET)
    before = _parameters(model)

    history = fit(model, *splits, _config(arch))

    after = _parameters(model)
    assert history[0].train["duration"] == 0.0
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("towers.duration"))
    assert any(not torch.equal(before[name], after[name]) for name in before if name.startswith("towers.ctr"))


@pytest.mark.parametrize("arch", ARCHS)
def test_rows_without_a_label_teach_its_task_what_their_absence_would(arch, tmp_path):
    """The gradient of a task with a null label on some rows is that of a batch without those rows."""
    dataset = _dataset(tmp_path / "data", _without_durations(_rows(12), every=3), weighted=False)
    schema = fit_schema(dataset)
    split = encode_split(dataset, "train", schema, tmp_path / "train")
    torch.manual_seed(0)
    model = build_model(arch, schema, TASKS, NET)

    def gradients(keep):
        model.zero_grad()
        everything = split.span(0, split.num_requests)
        part = type(everything)(
            request=everything.request,
            candidate=everything.candidate.take(keep),
            request_index=everything.request_index[keep],
        )
        inputs = as_tensors(part)
        labels = {"duration": torch.from_numpy(np.asarray(split.labels["duration"])[keep])}
        labels["ctr"] = torch.zeros(len(keep))
        rows = model.row_losses(model(inputs), labels, inputs)["duration"]
        ((rows.values * rows.defined).sum() / rows.defined.sum()).backward()
        return {name: p.grad.to_dense() for name, p in model.named_parameters() if p.grad is not None}

    all_rows = gradients(np.arange(split.num_rows))
    own_rows = gradients(np.flatnonzero(np.isfinite(split.labels["duration"])))

    assert all_rows.keys() == own_rows.keys()
    for name, gradient in all_rows.items():
        torch.testing.assert_close(gradient, own_rows[name], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("weighted", [False, True], ids=["rows", "weights"])
@pytest.mark.parametrize("arch", ARCHS)
def test_the_mean_loss_of_a_task_is_over_its_own_rows_of_the_whole_epoch(arch, weighted, tmp_path):
    """Not a mean over batches: one with two labelled rows would weigh as much as one with two hundred."""
    rows = _without_durations(_rows(40), every=4)
    weights = np.random.default_rng(3).choice([0.5, 1.0, 4.0], size=_count(rows))
    rows = _weighed(rows, weights)
    model, history, split, _ = _trained(tmp_path, rows, arch, weighted=weighted, batch_requests=3, learning_rate=1e-12)

    raw = predict(model, split)
    w = weights if weighted else np.ones_like(weights)
    click, seconds = np.asarray(split.labels["ctr"], np.float64), np.asarray(split.labels["duration"], np.float64)
    z = raw["ctr"][:, 0].astype(np.float64)
    cross_entropy = np.logaddexp(0, z) - click * z
    has = np.isfinite(seconds)
    squared = (raw["duration"][has, 0] - np.log1p(seconds[has])) ** 2

    assert 0 < has.sum() < np.isfinite(click).sum() / 3
    for losses in (history[0].train, history[0].validation):
        assert losses["ctr"] == pytest.approx(np.average(cross_entropy, weights=w), rel=1e-4)
        assert losses["duration"] == pytest.approx(np.average(squared, weights=w[has]), rel=1e-4)
