"""KuaiRand: short videos with clicks, long views, likes and play time.

C. Gao et al., "KuaiRand: An Unbiased Sequential Recommendation Dataset with Randomly Exposed Videos", CIKM 2022.
https://doi.org/10.1145/3511808.3557624 (CC BY-SA 4.0)

The log has no request id, so a list is what one user saw on one day. All features of a list are read at its first
impression: a request for the whole list could not know what happened to its own first rows. ``comment_stay_time``,
``play_time_ms`` and all actions are outcomes: they count for later lists only, clicks from the moment of the
impression, all else from the end of the play.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from contract.fusion import DEFAULT_FORMULA
from training.data.causal import KnownLater
from training.data.format import Dataset, DatasetInfo, DatasetWriter, FieldDeclaration, LabelDeclaration, open_dataset

__all__ = ["Shown", "featurise", "prepare", "read_log"]

_GROUP = 1_000
_WORDS = (
    "user_active_degree", "follow_user_num_range", "fans_user_num_range", "friend_user_num_range",
    "register_days_range",
)  # fmt: skip
_CODES = ("is_lowactive_period", "is_live_streamer", "is_video_author", *(f"onehot_feat{n}" for n in range(18)))
_COUNTS = ("follow_user_num", "fans_user_num", "friend_user_num", "register_days")
_RATES = ("click", "long_view", "like")
_PRIOR = {"click": 0.66, "long_view": 0.46, "like": 0.8}
_PRIOR_ROWS, _PRIOR_LOG_PLAY = 5.0, 3.0


@dataclass(frozen=True, kw_only=True)
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

    def features(self, who: str) -> dict[str, float]:
        seen = {"click": self.rows, "long_view": self.plays, "like": self.plays}
        rates = {
            f"{who}_{name}_rate": (getattr(self, name) + _PRIOR[name] * _PRIOR_ROWS) / (seen[name] + _PRIOR_ROWS)
            for name in _RATES
        }
        play = (self.log_play + _PRIOR_LOG_PLAY * _PRIOR_ROWS) / (self.plays + _PRIOR_ROWS)
        return {f"{who}_rows": float(self.rows), **rates, f"{who}_log_play": play}


def prepare(
    raw: Path, out: Path, *, rows: int | None = None, progress: Callable[[int], None] = lambda rows: None
) -> Dataset:
    """Prepare KuaiRand: the last day is test, the day before validation, all before train.

    Args:
        raw: Folder with ``log.parquet`` and ``user_features.parquet``.
        rows: Keeps the newest lists of every split, together about that many rows; counters still see all.
        progress: Called with the rows of every table written.
    """
    log = read_log(raw)
    share = min(1.0, (rows or len(log)) / len(log))
    *_, validation_day, test_day = sorted({shown.date for shown in log})
    users = {row["user_id"]: row for row in pq.read_table(raw / "user_features.parquet").to_pylist()}
    info = _info()
    lists = list(featurise(log))
    with DatasetWriter(out, info) as writer:
        for split, chosen in (
            ("train", [one for one in lists if one[0][0].date < validation_day]),
            ("validation", [one for one in lists if one[0][0].date == validation_day]),
            ("test", [one for one in lists if one[0][0].date == test_day]),
        ):
            kept = chosen[-max(1, round(len(chosen) * share)) :]
            for start in range(0, len(kept), _GROUP):
                part = kept[start : start + _GROUP]
                writer.write(split, _table(part, users, info))
                progress(sum(map(len, part)))
    return open_dataset(out)


def read_log(raw: Path) -> list[Shown]:
    """Read the log in order of time."""
    table = pq.read_table(raw / "log.parquet").sort_by("time_ms")
    return [
        Shown(
            user=row["user_id"], video=row["video_id"], date=row["date"], time=row["time_ms"] / 1e3,
            click=row["is_click"], long_view=row["long_view"], like=row["label"], play_s=row["play_time_ms"] / 1e3,
            length_s=row["duration_ms"] / 1e3 or np.nan,
        )
        for row in table.to_pylist()
    ]  # fmt: skip


_Rows = list[tuple[Shown, dict[str, float]]]


def featurise(log: list[Shown]) -> Iterator[_Rows]:
    """Give each list, rows with what was known strictly before the list's first row."""
    users: dict[int, _Tally] = {}
    videos: dict[int, _Tally] = {}
    pending = KnownLater()
    for one in _lists(log):
        pending.advance(one[0].time)
        user = users.setdefault(one[0].user, _Tally())
        tallies = [videos.setdefault(shown.video, _Tally()) for shown in one]
        yield [
            (shown, {"length_s": shown.length_s, **video.features("video"), **user.features("user")})
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


def _lists(log: list[Shown]) -> list[list[Shown]]:
    """Gather rows into user × day, ordered by their first impression; sorting is stable, so time stays in order."""
    by_list = sorted(log, key=lambda shown: (shown.date, shown.user))
    lists = [list(group) for _, group in groupby(by_list, key=lambda shown: (shown.date, shown.user))]
    return sorted(lists, key=lambda one: one[0].time)


def _table(lists: list[_Rows], users: dict[int, dict[str, Any]], info: DatasetInfo) -> pa.Table:
    firsts = [one[0][0] for one in lists]
    columns: dict[str, Any] = {
        "request_id": [f"{first.user}-{first.date}" for first in firsts],
        "time": pa.array([round(first.time * 1e6) for first in firsts], pa.timestamp("us")),
        "user_id": [str(first.user) for first in firsts],
        "user": [first.user for first in firsts],
        "item_id": [[str(shown.video) for shown, _ in one] for one in lists],
        "video": [[shown.video for shown, _ in one] for one in lists],
    }
    columns |= {name: [users[first.user][name] for first in firsts] for name in _WORDS}
    columns |= {name: [_code(users[first.user][name]) for first in firsts] for name in _CODES}
    columns |= {name: [float(users[first.user][name]) for first in firsts] for name in _COUNTS}
    columns |= {name: [[known[name] for _, known in one] for one in lists] for name in lists[0][0][1]}
    columns |= {
        "ctr": [[float(shown.click) for shown, _ in one] for one in lists],
        "long_view": [[float(shown.long_view) for shown, _ in one] for one in lists],
        "like": [[float(shown.like) for shown, _ in one] for one in lists],
        "duration": [[shown.play_s if shown.click else None for shown, _ in one] for one in lists],
    }
    return pa.table(columns).select(info.arrow_schema().names)


def _code(value: float | None) -> int | None:
    return None if value is None or value != value else int(value)


def _info() -> DatasetInfo:
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
        description="Short videos of Kuaishou, April 2022; a list is what one user saw on one day.",
        fields=(*request, *candidate),
        labels=(
            LabelDeclaration(name="ctr", kind="binary"),
            LabelDeclaration(name="long_view", kind="binary"),
            LabelDeclaration(name="like", kind="binary"),
            LabelDeclaration(name="duration", kind="duration", given="ctr"),
        ),
        default_formula=DEFAULT_FORMULA,
        baselines={"popularity": "video_rows", "click rate so far": "video_click_rate"},
        notes="Rows were kept only where the user liked or hated: like rates are not natural. CC BY-SA 4.0, KuaiRand.",
    )
