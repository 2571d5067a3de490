"""A world with known truth: users, items, lists, and what each user would do with each item.

Click, like and duration come from one latent affinity of user and item seen from two directions,
``w_d = rho * w_c + sqrt(1 - rho²) * w_perp`` (the construction of Ma et al., KDD 2018), so that *rho* says how much
the tasks agree. Everything is vectorised and written in row groups: memory does not grow with rows.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from contract.fusion import DEFAULT_FORMULA
from training.data.format import (
    Dataset,
    DatasetInfo,
    DatasetWriter,
    FieldDeclaration,
    LabelDeclaration,
    open_dataset,
)

__all__ = ["Lists", "SimulatedWorld", "WorldConfig", "prepare"]

Array = NDArray[Any]
DEFAULT_ROWS = 200_000
_GROUP = 2_000
_SHARES = (("train", 0.8), ("validation", 0.1), ("test", 0.1))
_MEAN_LIST = 20.0
_DEVICES = ("phone", "tablet", "desktop")
_CATEGORIES = tuple(f"category{number}" for number in range(12))
_SEGMENTS = tuple(f"segment{number}" for number in range(8))
_HISTORY = 10
_FACTORS = 8
_START = np.datetime64("2026-01-01T00:00:00", "us")


@dataclass(frozen=True, kw_only=True)
class WorldConfig:
    """Sizes of the world.

    Args:
        rho: Agreement of the click and the duration direction, -1 to 1.
    """

    users: int = 2_000
    items: int = 2_000
    rho: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Lists:
    """Some requests and what was shown: R lists, N impressions.

    Args:
        users: ``[R]``; *items*: ``[N]``; *index*: list of each impression, ``[N]``; *hours*: hour of day ``[R]``.
    """

    users: Array
    hours: Array
    devices: Array
    items: Array
    index: Array
    lengths: Array


class SimulatedWorld:
    """Draws users and items once, by seed, and answers with the true probabilities."""

    def __init__(self, config: WorldConfig, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.config = config
        # Segments have tastes and their users vary around them, so that a model can learn from few rows.
        self.segment = rng.integers(0, len(_SEGMENTS), size=config.users)
        tastes = rng.normal(size=(len(_SEGMENTS), _FACTORS))
        self.user_factors = (tastes[self.segment] + 0.4 * rng.normal(size=(config.users, _FACTORS))) / np.sqrt(_FACTORS)
        self.user_activity = rng.gamma(2.0, 1.0, size=config.users)
        self.category = rng.integers(0, len(_CATEGORIES), size=config.items)
        centres = rng.normal(size=(len(_CATEGORIES), _FACTORS))
        self.item_factors = centres[self.category] + 0.5 * rng.normal(size=(config.items, _FACTORS))
        self.quality = rng.normal(size=config.items)
        self.price = np.round(rng.lognormal(2.0, 0.7, size=config.items), 2)
        self.length = np.round(rng.lognormal(4.5, 0.6, size=config.items))
        # What a user liked before the log begins: the items nearest to him among a few at random.
        pool = rng.integers(0, config.items, size=(config.users, 60))
        affinity = np.einsum("uf,upf->up", self.user_factors, self.item_factors[pool])
        self.history = np.take_along_axis(pool, np.argsort(-affinity, axis=1)[:, :_HISTORY], axis=1)
        directions = np.linalg.qr(rng.normal(size=(_FACTORS, 2)))[0].T * np.sqrt(_FACTORS)
        self.click_direction = directions[0]
        rho = config.rho
        self.time_direction = rho * directions[0] + np.sqrt(1.0 - rho * rho) * directions[1]

    def draw_lists(self, count: int, rng: np.random.Generator) -> Lists:
        """Draw *count* requests with 5 to 35 candidates each."""
        lengths = rng.integers(5, 36, size=count)
        return Lists(
            users=rng.integers(0, self.config.users, size=count),
            hours=rng.integers(0, 24, size=count),
            devices=rng.integers(0, len(_DEVICES), size=count),
            items=rng.integers(0, self.config.items, size=int(lengths.sum())),
            index=np.repeat(np.arange(count), lengths),
            lengths=lengths,
        )

    def truth(self, lists: Lists) -> dict[str, Array]:
        """Give, for each impression: P(click), P(like | click) and E[seconds | click]."""
        logits = self.logits(lists)
        median = np.exp(logits["log_seconds"])
        return {
            "ctr": _sigmoid(logits["click"]),
            "like": _sigmoid(0.7 * logits["click"] + 0.5 * logits["taste"]),
            "duration_seconds": median * np.exp(_NOISE**2 / 2),
        }

    def logits(self, lists: Lists) -> dict[str, Array]:
        """Give the systematic part of each head."""
        users, items = lists.users[lists.index], lists.items
        product = self.user_factors[users] * self.item_factors[items]
        click_taste = product @ self.click_direction
        time_taste = product @ self.time_direction
        evening = np.where(lists.hours[lists.index] >= 18, 0.3, 0.0)
        return {
            "click": -2.4 + 0.9 * click_taste + 0.5 * self.quality[items] + evening,
            "taste": time_taste,
            "log_seconds": 0.6 * np.log(self.length[items]) + 0.8 + 0.35 * time_taste,
        }

    def labels(self, lists: Lists, rng: np.random.Generator) -> dict[str, Array]:
        """Draw what happened; likes and durations only where there was a click."""
        truth, n = self.truth(lists), len(lists.items)
        click = rng.random(n) < truth["ctr"]
        like = rng.random(n) < truth["like"]
        seconds = np.exp(self.logits(lists)["log_seconds"] + _NOISE * rng.normal(size=n))
        return {
            "ctr": click.astype(np.float32),
            "like": np.where(click, like, np.nan).astype(np.float32),
            "duration": np.where(click, seconds, np.nan).astype(np.float32),
        }

    def table(self, first: int, lists: Lists, labels: dict[str, Array], info: DatasetInfo) -> pa.Table:
        """Lay requests out as the prepared dataset has them."""
        offsets = np.r_[0, np.cumsum(lists.lengths)].astype(np.int32)
        items, users = lists.items, lists.users
        numbers = first + np.arange(len(users))
        flat: dict[str, Any] = {
            "item_id": _words("i", items),
            "item": _words("i", items),
            "category": np.asarray(_CATEGORIES)[self.category[items]],
            "price": self.price[items],
            "length_seconds": self.length[items],
            "popularity": np.round(np.exp(self.quality[items]) * 100),
            **labels,
        }
        columns: dict[str, Any] = {
            "request_id": _words("r", numbers),
            "time": _START + numbers * np.timedelta64(1, "s"),
            "user_id": _words("u", users),
            "user": _words("u", users),
            "segment": np.asarray(_SEGMENTS)[self.segment[users]],
            "hour": lists.hours,
            "device": np.asarray(_DEVICES)[lists.devices],
            "activity": self.user_activity[users],
            "history": [[f"i{item}" for item in row] for row in self.history[users]],
        }
        columns |= {
            name: pa.ListArray.from_arrays(offsets, pa.array(values, from_pandas=True)) for name, values in flat.items()
        }
        return pa.table(columns).cast(info.arrow_schema().empty_table().select(list(columns)).schema)

    def items_table(self) -> pa.Table:
        """Give the catalogue."""
        numbers = np.arange(self.config.items)
        words = _words("i", numbers)
        return pa.table(
            {
                "item_id": words,
                "item": words,
                "category": np.asarray(_CATEGORIES)[self.category],
                "price": self.price,
                "length_seconds": self.length,
            }
        )


_NOISE = 0.7


def prepare(
    out: Path,
    *,
    rows: int | None = None,
    seed: int = 0,
    config: WorldConfig | None = None,
    progress: Callable[[int], None] = lambda rows: None,
) -> Dataset:
    """Write a simulated dataset of about *rows* impressions.

    Args:
        progress: Called with the rows of every row group written.
    """
    world = SimulatedWorld(config or WorldConfig(), seed)
    info = _info()
    with DatasetWriter(out, info) as writer:
        for split, first, lists, labels in _draw(world, rows or DEFAULT_ROWS, seed):
            writer.write(split, world.table(first, lists, labels, info))
            progress(len(lists.items))
        writer.write_items(world.items_table())
    return open_dataset(out)


def _draw(world: SimulatedWorld, rows: int, seed: int) -> Iterator[tuple[str, int, Lists, dict[str, Array]]]:
    rng = np.random.default_rng(seed + 1)
    first = 0
    for split, share in _SHARES:
        left = max(8, round(rows * share / _MEAN_LIST))
        while left:
            lists = world.draw_lists(min(left, _GROUP), rng)
            yield split, first, lists, world.labels(lists, rng)
            first += len(lists.users)
            left -= len(lists.users)


def _info() -> DatasetInfo:
    request = [
        FieldDeclaration(name="user", side="request", kind="hashed", dtype="string", buckets=4_096),
        FieldDeclaration(name="segment", side="request", kind="categorical", dtype="string"),
        FieldDeclaration(name="hour", side="request", kind="categorical", dtype="int"),
        FieldDeclaration(name="device", side="request", kind="categorical", dtype="string"),
        FieldDeclaration(name="activity", side="request", kind="numeric", dtype="float", scaling="log"),
        FieldDeclaration(
            name="history",
            side="request",
            kind="sequence",
            dtype="string",
            max_length=_HISTORY,
            shares="item",
        ),
    ]
    candidate = [
        FieldDeclaration(name="item", side="candidate", kind="categorical", dtype="string", static=True),
        FieldDeclaration(name="category", side="candidate", kind="categorical", dtype="string", static=True),
        FieldDeclaration(name="price", side="candidate", kind="numeric", dtype="float", scaling="log", static=True),
        FieldDeclaration(
            name="length_seconds", side="candidate", kind="numeric", dtype="float", scaling="log", static=True
        ),
        FieldDeclaration(name="popularity", side="candidate", kind="numeric", dtype="float", scaling="log"),
    ]
    return DatasetInfo(
        name="simulator",
        description="Simulated lists with click, like and duration, and known truth.",
        fields=tuple(request + candidate),
        labels=(
            LabelDeclaration(name="ctr", kind="binary"),
            LabelDeclaration(name="like", kind="binary", given="ctr"),
            LabelDeclaration(name="duration", kind="duration", given="ctr"),
        ),
        default_formula=DEFAULT_FORMULA,
        baselines={"popularity": "popularity"},
    )


def _words(letter: str, numbers: Array) -> Array:
    return np.char.add(letter, numbers.astype(np.str_))


def _sigmoid(x: Array) -> Array:
    return np.asarray(1.0 / (1.0 + np.exp(-x)))
