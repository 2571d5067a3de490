"""KuaiRand: short videos with clicks, long views, likes and play time.

C. Gao et al., "KuaiRand: An Unbiased Sequential Recommendation Dataset with Randomly Exposed Videos", CIKM 2022.
https://doi.org/10.1145/3511808.3557624 (CC BY-SA 4.0)

The log has no request id, so a list is what one user saw on one day. All features of a list are read at its first
impression: a request for the whole list could not know what happened to its own first rows. ``comment_stay_time``,
``play_time_ms`` and all actions are outcomes: they count for later lists only, clicks from the moment of the
impression, all else from the end of the play.

Two layouts are read: the official CSV files (their standard logs, with natural rates; the randomly exposed videos of
``log_random_*.csv`` are another experiment and left out), and a Parquet extract that kept only rows where the user
liked or hated.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from contract.fusion import DEFAULT_FORMULA
from training.data.causal import KnownLater
from training.data.format import Dataset, DatasetInfo, DatasetWriter, FieldDeclaration, LabelDeclaration, open_dataset
from training.errors import DataError

__all__ = ["EXTRACT_PRIOR", "OFFICIAL_PRIOR", "Shown", "featurise", "has_files", "prepare", "read_lists"]

_GROUP = 1_000
_WORDS = (
    "user_active_degree", "follow_user_num_range", "fans_user_num_range", "friend_user_num_range",
    "register_days_range",
)  # fmt: skip
_CODES = ("is_lowactive_period", "is_live_streamer", "is_video_author", *(f"onehot_feat{n}" for n in range(18)))
_COUNTS = ("follow_user_num", "fans_user_num", "friend_user_num", "register_days")
_RATES = ("click", "long_view", "like")
EXTRACT_PRIOR = {"click": 0.66, "long_view": 0.46, "like": 0.8}
"""Rates to start from where users always liked or hated."""
OFFICIAL_PRIOR = {"click": 0.45, "long_view": 0.34, "like": 0.02}
"""Rates to start from in the official logs: round numbers, not counted in them, as no row may know of later ones."""
_PRIOR_ROWS, _PRIOR_LOG_PLAY = 5.0, 3.0
_LOG = {
    "user_id": pa.int32(), "video_id": pa.int32(), "date": pa.int32(), "time_ms": pa.int64(), "is_click": pa.int8(),
    "is_like": pa.int8(), "long_view": pa.int8(), "play_time_ms": pa.float64(), "duration_ms": pa.float64(),
}  # fmt: skip
_USERS = {
    "user_id": pa.int32(),
    **dict.fromkeys(_WORDS, pa.string()),
    **dict.fromkeys((*_CODES, *_COUNTS), pa.float64()),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """One impression and what came of it; times in seconds, *length_s* NaN where unknown."""

    user: int
    video: int
    date: int
    time: float
    click: int
    long_view: int
    like: int
    play_s: float
    length_s: float


@dataclass
class _Tally:
    """What is known of one user or one video."""

    rows: int = 0
    plays: int = 0
    click: float = 0.0
    long_view: float = 0.0
    like: float = 0.0
    log_play: float = 0.0

    def features(self, who: str, prior: Mapping[str, float]) -> dict[str, float]:
        seen = {"click": self.rows, "long_view": self.plays, "like": self.plays}
        rates = {
            f"{who}_{name}_rate": (getattr(self, name) + prior[name] * _PRIOR_ROWS) / (seen[name] + _PRIOR_ROWS)
            for name in _RATES
        }
        play = (self.log_play + _PRIOR_LOG_PLAY * _PRIOR_ROWS) / (self.plays + _PRIOR_ROWS)
        return {f"{who}_rows": float(self.rows), **rates, f"{who}_log_play": play}


def prepare(
    raw: Path, out: Path, *, rows: int | None = None, progress: Callable[[int], None] = lambda rows: None
) -> Dataset:
    """Prepare KuaiRand: the last day is test, the day before validation, all before train.

    Args:
        raw: Folder with the official CSV files somewhere in it, or with the extract's ``log.parquet`` and
            ``user_features.parquet``.
        rows: Keeps the newest lists of every split, together about that many rows; counters still see all.
        progress: Called with the rows of every table written.

    Raises:
        DataError: When the log spans fewer than three days, or a file is not what it should be.
    """
    source = _open(raw)
    lists = _gathered(source.read_log())
    chosen = _chosen_splits(lists, rows)
    users = {row["user_id"]: row for row in source.read_users().to_pylist()}
    info = _info(source)
    waiting: dict[str, list[_Rows]] = {"train": [], "validation": [], "test": []}
    with DatasetWriter(out, info) as writer:

        def write(split: str) -> None:
            part, waiting[split] = waiting[split], []
            if part:
                writer.write(split, _table(part, users, info))
                progress(sum(map(len, part)))

        for split, one in zip(chosen, featurise(_shown(lists), prior=source.prior), strict=True):
            if split is not None:
                waiting[split].append(one)
                if len(waiting[split]) == _GROUP:
                    write(split)
        for split in waiting:
            write(split)
    return open_dataset(out)


def has_files(raw: Path) -> bool:
    """Tell whether a folder holds one of the layouts that this reader reads."""
    return _Extract(raw).is_here() or _Official(raw).is_here()


def read_lists(raw: Path) -> Iterator[list[Shown]]:
    """Read what each user saw on each day, ordered by the first impression; within a list in order of time."""
    return _shown(_gathered(_open(raw).read_log()))


class _Extract:
    """The Parquet extract."""

    description = "Short videos of Kuaishou, April 2022; a list is what one user saw on one day."
    notes = "Rows were kept only where the user liked or hated: like rates are not natural. CC BY-SA 4.0, KuaiRand."
    prior = EXTRACT_PRIOR

    def __init__(self, raw: Path) -> None:
        self._log = raw / "log.parquet"
        self._users = raw / "user_features.parquet"

    def is_here(self) -> bool:
        return self._log.is_file() and self._users.is_file()

    def read_log(self) -> pa.Table:
        """Read the log; its ``label`` is 1 where the user liked and 0 where he hated."""
        names = [name if name != "is_like" else "label" for name in _LOG]
        return pq.read_table(self._log, columns=names).select(names).rename_columns(list(_LOG)).cast(pa.schema(_LOG))

    def read_users(self) -> pa.Table:
        return pq.read_table(self._users, columns=list(_USERS)).select(list(_USERS)).cast(pa.schema(_USERS))


class _Official:
    """The CSV files of KuaiRand-Pure, wherever in the folder they were unpacked."""

    description = "Short videos of Kuaishou, April and May 2022; a list is what one user saw on one day."
    notes = "The standard logs, with natural rates; randomly exposed videos are left out. CC BY-SA 4.0, KuaiRand."
    prior = OFFICIAL_PRIOR

    def __init__(self, raw: Path) -> None:
        logs = sorted(raw.rglob("log_standard_*.csv"))
        self._logs = [path for path in logs if path.parent == logs[0].parent]  # another copy would count rows twice
        self._users = sorted(logs[0].parent.glob("user_features_*.csv")) if logs else []

    def is_here(self) -> bool:
        return bool(self._logs and self._users)

    def read_log(self) -> pa.Table:
        return pa.concat_tables([_read_csv(path, _LOG) for path in self._logs])

    def read_users(self) -> pa.Table:
        return pa.concat_tables([_read_csv(path, _USERS) for path in self._users])


def _open(raw: Path) -> _Extract | _Official:
    for source in (_Extract(raw), _Official(raw)):
        if source.is_here():
            return source
    raise DataError(f"{raw} holds no log of KuaiRand", fix="fulcrum data fetch kuairand-pure")


def _read_csv(path: Path, types: Mapping[str, pa.DataType]) -> pa.Table:
    """Read some columns a block at a time: as text a log is several times what it is as numbers."""
    options = pa.csv.ConvertOptions(include_columns=list(types), column_types=dict(types))
    try:
        with pa.csv.open_csv(path, convert_options=options) as blocks:
            return pa.Table.from_batches(blocks, schema=pa.schema(types))
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        raise DataError(f"{path}: {error}", fix="fetch it again") from None


@dataclass(frozen=True, kw_only=True)
class _Lists:
    """The log, list after list.

    Args:
        rows: In order of lists, ordered by first impression, and of time within them.
        edges: int64 ``[lists + 1]``: the rows of list k are ``edges[k] : edges[k + 1]``.
    """

    rows: pa.Table
    edges: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.edges) - 1


def _gathered(log: pa.Table) -> _Lists:
    """Gather rows into user × day; sorting is stable, so rows of one instant keep the log's order."""
    user, date, time = (log[name].to_numpy() for name in ("user_id", "date", "time_ms"))
    order = np.lexsort((time, user, date))
    user, date, time = user[order], date[order], time[order]
    starts = np.flatnonzero(np.r_[True, (np.diff(user) != 0) | (np.diff(date) != 0)][: len(order)])
    lengths = np.diff(np.r_[starts, len(order)])
    by_time = np.argsort(time[starts], kind="stable")
    edges = np.r_[0, np.cumsum(lengths[by_time])]
    places = np.repeat(starts[by_time] - edges[:-1], lengths[by_time]) + np.arange(len(order))
    return _Lists(rows=log.take(pa.array(order[places])), edges=edges)


def _chosen_splits(lists: _Lists, rows: int | None) -> list[str | None]:
    """Name the split of each list; None is not kept, but later ones still know of it."""
    dates = lists.rows["date"].to_numpy()[lists.edges[:-1]]
    days = np.unique(dates)
    if len(days) < 3:
        raise DataError("KuaiRand needs three days: one to test, one to validate, one to train on")
    share = min(1.0, (rows or len(lists.rows)) / len(lists.rows))
    chosen: list[str | None] = [None] * len(lists)
    for split, of_split in (
        ("train", dates < days[-2]),
        ("validation", dates == days[-2]),
        ("test", dates == days[-1]),
    ):
        places = np.flatnonzero(of_split).tolist()
        for place in places[-max(1, round(len(places) * share)) :]:
            chosen[place] = split
    return chosen


def _shown(lists: _Lists) -> Iterator[list[Shown]]:
    """Turn lists into objects a slice at a time: as columns the log is small, as objects it would not be."""
    for first in range(0, len(lists), _GROUP):
        edges = lists.edges[first : first + _GROUP + 1] - lists.edges[first]
        part = lists.rows.slice(int(lists.edges[first]), int(edges[-1]))
        shown = [
            Shown(
                user=row["user_id"], video=row["video_id"], date=row["date"], time=row["time_ms"] / 1e3,
                click=row["is_click"], long_view=row["long_view"], like=row["is_like"],
                play_s=row["play_time_ms"] / 1e3, length_s=row["duration_ms"] / 1e3 or np.nan,
            )
            for row in part.to_pylist()
        ]  # fmt: skip
        for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            yield shown[start:stop]


_Rows = list[tuple[Shown, dict[str, float]]]


def featurise(lists: Iterable[list[Shown]], *, prior: Mapping[str, float]) -> Iterator[_Rows]:
    """Give each list, ordered by first impression, rows with what was known strictly before the list's first row.

    Args:
        prior: Rates of a user or a video of whom nothing is known.
    """
    users: dict[int, _Tally] = {}
    videos: dict[int, _Tally] = {}
    pending = KnownLater()
    for one in lists:
        pending.advance(one[0].time)
        user = users.setdefault(one[0].user, _Tally())
        tallies = [videos.setdefault(shown.video, _Tally()) for shown in one]
        of_user = user.features("user", prior)
        yield [
            (shown, {"length_s": shown.length_s, **video.features("video", prior), **of_user})
            for shown, video in zip(one, tallies, strict=True)
        ]
        for shown, video in zip(one, tallies, strict=True):
            _remember(shown, (user, video), pending)


def _remember(shown: Shown, tallies: tuple[_Tally, _Tally], pending: KnownLater) -> None:
    def seen() -> None:
        for tally in tallies:
            tally.rows += 1
            tally.click += shown.click

    def played() -> None:
        for tally in tallies:
            tally.plays += 1
            tally.long_view += shown.long_view
            tally.like += shown.like
            tally.log_play += float(np.log1p(shown.play_s))

    pending.push(shown.time, seen)
    pending.push(shown.time + shown.play_s, played)


def _table(lists: list[_Rows], users: dict[int, dict[str, Any]], info: DatasetInfo) -> pa.Table:
    firsts = [one[0][0] for one in lists]
    known = [users.get(first.user, dict.fromkeys(_USERS)) for first in firsts]
    columns: dict[str, Any] = {
        "request_id": [f"{first.user}-{first.date}" for first in firsts],
        "time": pa.array([round(first.time * 1e6) for first in firsts], pa.timestamp("us")),
        "user_id": [str(first.user) for first in firsts],
        "user": [first.user for first in firsts],
        "item_id": [[str(shown.video) for shown, _ in one] for one in lists],
        "video": [[shown.video for shown, _ in one] for one in lists],
    }
    columns |= {name: [user[name] for user in known] for name in (*_WORDS, *_COUNTS)}
    columns |= {name: [_code(user[name]) for user in known] for name in _CODES}
    columns |= {name: [[features[name] for _, features in one] for one in lists] for name in lists[0][0][1]}
    columns |= {
        "ctr": [[float(shown.click) for shown, _ in one] for one in lists],
        "long_view": [[float(shown.long_view) for shown, _ in one] for one in lists],
        "like": [[float(shown.like) for shown, _ in one] for one in lists],
        "duration": [[shown.play_s if shown.click else None for shown, _ in one] for one in lists],
    }
    return pa.table(columns).select(info.arrow_schema().names)


def _code(value: float | None) -> int | None:
    return None if value is None or value != value else int(value)


def _info(source: _Extract | _Official) -> DatasetInfo:
    def number(name: str, side: Any, scaling: Any) -> FieldDeclaration:
        return FieldDeclaration(name=name, side=side, kind="numeric", dtype="float", scaling=scaling)

    request = [FieldDeclaration(name="user", side="request", kind="categorical", dtype="int", min_count=3)]
    request += [FieldDeclaration(name=name, side="request", kind="categorical", dtype="string") for name in _WORDS]
    request += [FieldDeclaration(name=name, side="request", kind="categorical", dtype="int") for name in _CODES]
    request += [number(name, "request", "log") for name in _COUNTS]
    candidate = [FieldDeclaration(name="video", side="candidate", kind="categorical", dtype="int", min_count=3)]
    candidate.append(number("length_s", "candidate", "log"))
    for who in ("video", "user"):
        candidate.append(number(f"{who}_rows", "candidate", "log"))
        candidate += [number(f"{who}_{name}_rate", "candidate", "standard") for name in _RATES]
        candidate.append(number(f"{who}_log_play", "candidate", "standard"))
    return DatasetInfo(
        name="kuairand",
        description=source.description,
        fields=(*request, *candidate),
        labels=(
            LabelDeclaration(name="ctr", kind="binary"),
            LabelDeclaration(name="long_view", kind="binary"),
            LabelDeclaration(name="like", kind="binary"),
            LabelDeclaration(name="duration", kind="duration", given="ctr"),
        ),
        default_formula=DEFAULT_FORMULA,
        baselines={"popularity": "video_rows", "click rate so far": "video_click_rate"},
        notes=source.notes,
    )
