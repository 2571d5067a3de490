"""A small prepared dataset with every kind of feature on both sides, and each of them missing somewhere."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from contract.features import Categorical, FeatureSchema, Hashed, Numeric, Piecewise, Sequence, Standard, Vector
from training.data.format import Dataset, DatasetInfo, DatasetWriter, FieldDeclaration, LabelDeclaration, open_dataset

ITEMS = [f"i{number}" for number in range(24)]
TAGS = ["news", "sport", "music", "art", "food"]
DIM = 4
"""Embedding width to train with: the frozen table is of this width, the other file is wider."""


def _field(name: str, side: Any, kind: Any, dtype: Any, **options: Any) -> FieldDeclaration:
    return FieldDeclaration(name=name, side=side, kind=kind, dtype=dtype, **options)


FIELDS = (
    _field("user", "request", "hashed", "string", buckets=64),
    _field("hour", "request", "categorical", "int"),
    _field("history", "request", "sequence", "string", max_length=5, shares="item", pooling="attention", target="item"),
    _field("shops_seen", "request", "sequence", "int", max_length=3, shares="shop", pooling="attention", target="shop"),
    _field("tags_seen", "request", "sequence", "string", max_length=4, shares="tags"),
    _field("activity", "request", "numeric", "float", scaling="log"),
    _field("tenure", "request", "numeric", "float", scaling="piecewise"),
    _field("taste", "request", "vector", "float", dim=3, scaling="none"),
    _field("item", "candidate", "categorical", "string", static=True, pretrained="items.npz"),
    _field(
        "tags",
        "candidate",
        "sequence",
        "string",
        max_length=3,
        pooling="sum",
        static=True,
        pretrained="tags.parquet",
        frozen=True,
    ),
    _field(
        "similar",
        "candidate",
        "sequence",
        "string",
        max_length=4,
        shares="item",
        pooling="attention",
        target="item",
        static=True,
    ),
    _field("shop", "candidate", "hashed", "int", buckets=32),
    _field("length", "candidate", "numeric", "int", scaling="piecewise", static=True),
    _field("price", "candidate", "numeric", "float", static=True),
    _field("age", "candidate", "numeric", "int", scaling="quantile"),
    _field("picture", "candidate", "vector", "float", dim=5, project=2, static=True),
)
STATIC = tuple(field.name for field in FIELDS if field.static)
TAG_VECTORS = np.random.default_rng(7).normal(size=(len(TAGS), DIM))


def every_kind_schema() -> FeatureSchema:
    """Give a fitted schema of every kind, each pooling on each side, to build models of without a dataset."""

    def sequence(name: str, side: Any, table: str, length: int, pooling: Any) -> Sequence:
        target = table if pooling == "attention" else None
        facts = {"max_length": length, "pooling": pooling, "target": target}
        return Sequence(name=name, side=side, dtype="string", table=table, **facts)  # type: ignore[arg-type]

    return FeatureSchema(
        fields=(
            sequence("history", "request", "item", 3, "attention"),
            sequence("viewed", "request", "item", 3, "sum"),
            sequence("shops", "request", "shop", 2, "attention"),
            Vector(name="taste", side="request", dim=2),
            sequence("similar", "candidate", "item", 3, "attention"),
            Categorical(name="item", side="candidate", dtype="string", table="item"),
            Hashed(name="shop", side="candidate", dtype="string", table="shop", buckets=5),
            sequence("parts", "candidate", "item", 2, "mean"),
            Vector(name="picture", side="candidate", dim=4, project=2),
            Numeric(name="length", side="candidate", scaling=Piecewise(points=(0.0, 1.0, 4.0, 9.0))),
            Numeric(name="price", side="candidate", scaling=Standard(mean=0, std=1)),
        ),
        vocabularies={"item": ("a", "b", "c", "d")},
    )


def every_kind(path: Path, *, lists: int = 80, seed: int = 0) -> Dataset:
    """Prepare the dataset: *lists* lists of 3 to 6 candidates, most of them for training."""
    rng = np.random.default_rng(seed)
    catalogue = _catalogue(rng)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path.parent / "items.npz", value=np.array(ITEMS[:20]), vector=rng.normal(size=(20, 6)))
    vectors = pa.array(TAG_VECTORS.tolist(), pa.list_(pa.float64()))
    pq.write_table(pa.table({"value": TAGS, "vector": vectors}), path.parent / "tags.parquet")
    with DatasetWriter(path, _info()) as writer:
        for name in ("items.npz", "tags.parquet"):
            writer.add_file(path.parent / name)
        rows = [_one_list(number, catalogue, rng) for number in range(lists)]
        for split, part in zip(("train", "validation", "test"), _parts(rows), strict=True):
            for start in range(0, len(part), 16):
                writer.write(split, pa.Table.from_pylist(part[start : start + 16], _info().arrow_schema()))
        writer.write_items(pa.Table.from_pylist(list(catalogue.values())))
    return open_dataset(path)


def _info() -> DatasetInfo:
    return DatasetInfo(
        name="every_kind",
        fields=FIELDS,
        labels=(
            LabelDeclaration(name="ctr", kind="binary"),
            LabelDeclaration(name="like", kind="binary", given="ctr"),
            LabelDeclaration(name="duration", kind="duration", given="ctr"),
        ),
        weight="importance",
        default_formula="ctr * log1p(duration_seconds)",
    )


def _parts(rows: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    first, second = int(0.7 * len(rows)), int(0.85 * len(rows))
    return [rows[:first], rows[first:second], rows[second:]]


def _catalogue(rng: np.random.Generator) -> dict[str, dict[str, Any]]:
    return {
        item: {
            "item_id": item,
            "item": _or_none(item, rng),
            "tags": _or_none(_some(TAGS, 5, rng), rng),
            "similar": _or_none(_some(ITEMS, 6, rng), rng),
            "length": _or_none(int(rng.integers(5, 300)), rng),
            "price": _or_none(float(np.round(rng.gamma(2.0, 4.0), 3)), rng),
            "picture": _or_none(rng.normal(size=5).astype(np.float32).tolist(), rng),
        }
        for item in ITEMS
    }


def _one_list(number: int, catalogue: dict[str, dict[str, Any]], rng: np.random.Generator) -> dict[str, Any]:
    shown = rng.choice(ITEMS, size=int(rng.integers(3, 7)), replace=False).tolist()
    clicks = (rng.random(len(shown)) < 0.5).astype(float)
    return {
        "request_id": f"r{number}",
        "time": datetime(2026, 1, 1) + timedelta(minutes=number),  # noqa: DTZ001 - datasets know no zones
        "user_id": f"u{number % 9}",
        "user": _or_none(f"u{number % 9}", rng),
        "hour": _or_none(int(rng.integers(0, 24)), rng),
        "history": _or_none(_some(ITEMS, 8, rng), rng),
        "shops_seen": _or_none(rng.integers(0, 99, size=int(rng.integers(0, 5))).tolist(), rng),
        "tags_seen": _or_none(_some(TAGS, 6, rng), rng),
        "activity": _or_none(float(rng.gamma(1.0, 10.0)), rng),
        "tenure": _or_none(float(rng.gamma(1.0, 100.0)), rng),
        "taste": _or_none(rng.normal(size=3).tolist(), rng),
        "item_id": shown,
        "shop": [_or_none(int(rng.integers(0, 99)), rng) for _ in shown],
        "age": [_or_none(int(rng.integers(0, 1_000)), rng) for _ in shown],
        **{name: [catalogue[item][name] for item in shown] for name in STATIC},
        "ctr": clicks.tolist(),
        "like": [float(rng.random() < 0.3) if click else None for click in clicks],
        "duration": [float(rng.gamma(2.0, 20.0)) if click else None for click in clicks],
        "importance": rng.choice([0.5, 1.0, 2.0], size=len(shown)).tolist(),
    }


def _or_none(value: Any, rng: np.random.Generator) -> Any:
    return None if rng.random() < 0.15 else value


def _some(values: list[str], most: int, rng: np.random.Generator) -> list[str | None]:
    """Give up to *most* values, one of them now and then null or new."""
    drawn: list[str | None] = rng.choice(values, size=int(rng.integers(0, most + 1))).tolist()
    return [None if rng.random() < 0.05 else value for value in drawn]
