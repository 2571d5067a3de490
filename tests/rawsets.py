"""Small raw sets in their owners' layouts, invented row by row; no real data is needed to read them."""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

START = datetime(2023, 5, 18)  # noqa: DTZ001 - EB-NeRD's own times carry no zone
ARTICLES = 9_000_000 + np.arange(40)


def write_ebnerd(raw: Path, *, train: int = 120, validation: int = 40) -> Path:
    """Write the folders ``train`` (its lists spread over two days) and ``validation`` (over the next)."""
    rng = np.random.default_rng(0)
    _ebnerd_split(raw / "train", rng, train, START, timedelta(days=2))
    _ebnerd_split(raw / "validation", rng, validation, START + timedelta(days=2, minutes=1), timedelta(days=1))
    lengths = pa.array(ARTICLES[:30], pa.int32()), pa.array(100 + np.arange(30), pa.uint32())
    pq.write_table(pa.table(lengths, names=["article_id", "article_length"]), raw / "articles_length.parquet")
    premium = pa.array(ARTICLES, pa.int32()), pa.array(np.arange(40) % 2, pa.float32())
    pq.write_table(pa.table(premium, names=["article_id", "premium"]), raw / "articles_premium.parquet")
    return raw


def _ebnerd_split(folder: Path, rng: np.random.Generator, lists: int, start: datetime, span: timedelta) -> None:
    folder.mkdir(parents=True)
    inview = [rng.choice(ARTICLES, size=6, replace=False).astype(np.int32) for _ in range(lists)]
    table = pa.table(
        {
            "impression_id": pa.array(range(lists), pa.uint32()),
            "impression_time": pa.array([start + span * (n / lists) for n in range(lists)], pa.timestamp("us")),
            "device_type": pa.array([1] * lists, pa.int8()),
            "article_ids_inview": pa.array(inview, pa.list_(pa.int32())),
            "article_ids_clicked": pa.array([each[:1] for each in inview], pa.list_(pa.int32())),
            "user_id": pa.array(rng.integers(1, 9, lists), pa.uint32()),
            "is_sso_user": pa.array([False] * lists),
            "is_subscriber": pa.array([True] * lists),
            "next_read_time": pa.array(rng.integers(1, 300, lists), pa.float32()),
            "next_scroll_percentage": pa.array(rng.integers(0, 101, lists), pa.float32()),
        }
    )
    pq.write_table(table.take(pa.array(rng.permutation(lists))), folder / "behaviors.parquet")
    history = pa.table(
        {
            "user_id": pa.array([1, 2], pa.uint32()),
            "article_id_fixed": pa.array([ARTICLES[:2], ARTICLES[:1]], pa.list_(pa.int32())),
            "impression_time_fixed": pa.array([[start - span] * 2, [start - span]], pa.list_(pa.timestamp("us"))),
            "read_time_fixed": pa.array([[10.0, None], [30.0]], pa.list_(pa.float32())),
        }
    )
    pq.write_table(history, folder / "history.parquet")
