"""EB-NeRD: news impressions of Ekstra Bladet with clicks, reading time and scroll depth.

J. Kruse et al., "EB-NeRD: A Large-Scale Dataset for News Recommendation", RecSys Challenge 2024.
https://doi.org/10.1145/3687151.3687152

Every feature is counted from what was known strictly before its impression (:mod:`training.data.causal`). The row's
own ``read_time`` and ``scroll_percentage`` describe the page that showed the list and are known only afterwards:
they are not read at all. Train is the train folder without its last day, validation that day, test the whole
validation folder.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from contract.fusion import DEFAULT_FORMULA
from training.data.causal import KnownLater
from training.data.ebnerd_features import ArticleLog, Candidates, UserLog
from training.data.format import Dataset, DatasetInfo, DatasetWriter, FieldDeclaration, LabelDeclaration, open_dataset
from training.errors import DataError

__all__ = ["Impression", "featurise", "has_files", "prepare", "read_impressions"]

Array = NDArray[Any]
_GROUP = 2_000
_DAY_S = 86_400.0
_FINISHED = 90.0
_COLUMNS = [
    "impression_id", "impression_time", "device_type", "article_ids_inview", "article_ids_clicked", "user_id",
    "is_sso_user", "is_subscriber", "next_read_time", "next_scroll_percentage",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Impression:
    """One list as it was shown, and what came of it.

    Args:
        time: Seconds since 1970, UTC.
        articles: What was in view.
        clicked: What was clicked, usually one.
        read_s: Seconds that the clicked article was read; NaN where unknown.
        scroll: Percent of the clicked article that was scrolled; NaN where unknown.
    """

    id: int
    time: float
    user: int
    device: int
    is_sso: bool
    is_subscriber: bool
    articles: Array
    clicked: tuple[int, ...]
    read_s: float
    scroll: float


@dataclass(frozen=True, kw_only=True)
class Row:
    """One prepared request."""

    impression: Impression
    request: dict[str, Any]
    candidates: Candidates


def prepare(
    raw: Path, out: Path, *, rows: int | None = None, progress: Callable[[int], None] = lambda rows: None
) -> Dataset:
    """Prepare EB-NeRD (demo or larger) from its official files.

    Args:
        raw: Folder with ``train``, ``validation`` and the articles: the official ``articles.parquet``, or an extract
            of lengths and premium flags.
        rows: Keeps about that many of the newest training impressions, and the same share of the later splits'
            oldest; counters still see everything before.
        progress: Called with the candidates of every group of lists written.

    Raises:
        DataError: When the train folder spans no more than a day, or the validation folder is empty.
    """
    train, test = _behaviours(raw / "train"), _behaviours(raw / "validation")
    chosen = _chosen_splits(train, test, rows)
    info = _info()
    with DatasetWriter(out, info) as writer:
        needed = islice(chain(_impressions(train), _impressions(test)), len(chosen))
        prepared = featurise(needed, raw)
        kept = ((split, row) for split, row in zip(chosen, prepared, strict=True) if split is not None)
        for split, run in groupby(kept, key=itemgetter(0)):
            while part := [row for _, row in islice(run, _GROUP)]:
                writer.write(split, _table(part, info))
                progress(sum(len(row.impression.articles) for row in part))
    return open_dataset(out)


def has_files(raw: Path) -> bool:
    """Tell whether a folder holds what this reader reads."""
    logs = [raw / split / f"{name}.parquet" for split in ("train", "validation") for name in ("behaviors", "history")]
    articles = [raw / "articles.parquet"], [raw / "articles_length.parquet", raw / "articles_premium.parquet"]
    return all(path.is_file() for path in logs) and any(all(path.is_file() for path in each) for each in articles)


def read_impressions(folder: Path) -> list[Impression]:
    """Read ``behaviors.parquet`` of one split, in order of time."""
    return list(_impressions(_behaviours(folder)))


def _behaviours(folder: Path) -> pa.Table:
    return pq.read_table(folder / "behaviors.parquet", columns=_COLUMNS).sort_by("impression_time")


def _impressions(behaviours: pa.Table) -> Iterator[Impression]:
    """Turn a table into impressions a slice at a time: as columns the log is small, as objects it would not be."""
    for start in range(0, len(behaviours), _GROUP):
        part = behaviours.slice(start, _GROUP)
        columns = [part[name].to_pylist() for name in _COLUMNS if name != "impression_time"]
        for time, number, device, articles, clicked, user, sso, subscriber, read, scroll in zip(
            _seconds(part).tolist(), *columns, strict=True
        ):
            yield Impression(
                id=number, time=time, user=user, device=device or 0, is_sso=bool(sso), is_subscriber=bool(subscriber),
                articles=np.array(articles), clicked=tuple(clicked or ()),
                read_s=np.nan if read is None else read, scroll=np.nan if scroll is None else scroll,
            )  # fmt: skip


def _seconds(behaviours: pa.Table) -> Array:
    return np.asarray(behaviours["impression_time"].to_numpy().astype("datetime64[us]").astype(np.int64) / 1e6)


def _chosen_splits(train: pa.Table, test: pa.Table, rows: int | None) -> list[str | None]:
    """Name the split of each impression up to the last one kept; None is not kept, but later ones still know of it."""
    times = _seconds(train)
    late = int(np.searchsorted(times, times[-1] - _DAY_S)) if len(times) else 0
    if not late or not len(test):
        raise DataError(
            "EB-NeRD needs more than a day of impressions in train and some in validation", fix="fetch the files again"
        )
    sizes = {"train": late, "validation": len(times) - late, "test": len(test)}
    candidates = pc.sum(pc.list_value_length(train["article_ids_inview"].slice(0, late))).as_py()
    share = min(1.0, (rows or candidates) / candidates)
    kept = {split: max(1, round(size * share)) for split, size in sizes.items()}
    return [
        *_repeated(None, sizes["train"] - kept["train"]),
        *_repeated("train", kept["train"]),
        *_repeated("validation", kept["validation"]),
        *_repeated(None, sizes["validation"] - kept["validation"]),
        *_repeated("test", kept["test"]),
    ]


def _repeated(split: str | None, times: int) -> list[str | None]:
    return [split] * times


def featurise(impressions: Iterable[Impression], raw: Path) -> Iterator[Row]:
    """Give each impression, in order of time, with what was known before it."""
    articles = ArticleLog.open(raw)
    users = UserLog.open(raw / "train" / "history.parquet", articles)
    pending = KnownLater()
    for impression in impressions:
        users.switch_history(raw, impression.time)
        pending.advance(impression.time)
        rows = articles.rows(impression.articles)
        candidates = articles.features(rows, impression.time) | users.pair_features(
            impression.user, rows, impression.time
        )
        yield Row(
            impression=impression,
            request=_request_features(impression, users),
            candidates=candidates,
        )
        _remember(impression, rows, articles, users, pending)


def _remember(impression: Impression, rows: Array, articles: ArticleLog, users: UserLog, pending: KnownLater) -> None:
    """Hand an impression's events to the future; its own features are made already."""
    clicked = rows[np.isin(impression.articles, impression.clicked)]

    def shown_and_clicked() -> None:
        articles.shown(rows, clicked, impression.time)
        users.shown(impression.user, rows, clicked, impression.time)

    pending.push(impression.time, shown_and_clicked)
    if len(clicked) == 1 and np.isfinite(impression.read_s):

        def read() -> None:
            articles.read(clicked, impression.read_s)
            users.read(impression.user, impression.read_s)

        pending.push(impression.time + impression.read_s, read)


def _request_features(impression: Impression, users: UserLog) -> dict[str, Any]:
    hour = int(impression.time // 3600 % 24)
    return {
        "hour": hour,
        "device": impression.device,
        "is_sso": int(impression.is_sso),
        "is_subscriber": int(impression.is_subscriber),
        "list_size": float(len(impression.articles)),
        **users.features(impression.user, impression.time),
    }


def _table(rows: list[Row], info: DatasetInfo) -> pa.Table:
    columns: dict[str, Any] = {
        "request_id": [str(row.impression.id) for row in rows],
        "time": pa.array([round(row.impression.time * 1e6) for row in rows], pa.timestamp("us")),
        "user_id": [str(row.impression.user) for row in rows],
        "item_id": [[str(article) for article in row.impression.articles] for row in rows],
    }
    columns |= {name: [row.request[name] for row in rows] for name in rows[0].request}
    columns |= {name: [row.candidates[name] for row in rows] for name in rows[0].candidates}
    labels = [_labels(row.impression) for row in rows]
    columns |= {name: pa.array([each[name] for each in labels], pa.list_(pa.float32())) for name in labels[0]}
    return pa.table(columns).select(info.arrow_schema().names)


def _labels(impression: Impression) -> dict[str, list[float | None]]:
    clicks = np.isin(impression.articles, impression.clicked)
    alone = int(clicks.sum()) == 1  # with two clicks nobody knows which one was read
    read = impression.read_s if alone and np.isfinite(impression.read_s) else None
    finished = float(impression.scroll >= _FINISHED) if alone and np.isfinite(impression.scroll) else None
    return {
        "ctr": clicks.astype(float).tolist(),
        "finish": [finished if click else None for click in clicks],
        "duration": [read if click else None for click in clicks],
    }


def _number(side: Any, name: str, scaling: Any) -> FieldDeclaration:
    return FieldDeclaration(name=name, side=side, kind="numeric", dtype="float", scaling=scaling)


def _info() -> DatasetInfo:
    ids = [
        FieldDeclaration(name=name, side="request", kind="categorical", dtype="int")
        for name in ("hour", "device", "is_sso", "is_subscriber")
    ]
    request = [_number("request", "list_size", "log")]
    request += [_number("request", name, scaling) for name, scaling in UserLog.FIELDS.items()]
    candidate = [_number("candidate", name, scaling) for name, scaling in ArticleLog.FIELDS.items()]
    candidate += [_number("candidate", name, scaling) for name, scaling in UserLog.PAIR_FIELDS.items()]
    return DatasetInfo(
        name="ebnerd",
        description="News impressions of Ekstra Bladet, May 2023.",
        fields=(*ids, *request, *candidate),
        labels=(
            LabelDeclaration(name="ctr", kind="binary"),
            LabelDeclaration(name="finish", kind="binary", given="ctr"),
            LabelDeclaration(name="duration", kind="duration", given="ctr"),
        ),
        default_formula=DEFAULT_FORMULA,
        baselines={"popularity": "clicks_6h", "popularity all time": "clicks_all", "recency": "-age_hours"},
        notes="Published for news-recommendation research; do not redistribute.",
    )
