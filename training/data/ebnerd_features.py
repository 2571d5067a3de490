"""What is known of articles and users while the EB-NeRD log is read forward in time."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from training.data.causal import DecayedCounter, ranks_within

__all__ = ["ArticleLog", "Candidates", "UserLog"]

Array = NDArray[Any]
Candidates = dict[str, Array]
_HOUR = 3600.0
_USERS_AT_ONCE = 500
_ARTICLES_AT_ONCE = 1_000
_WINDOWS = {"30m": 0.5 * _HOUR, "2h": 2 * _HOUR, "6h": 6 * _HOUR, "1d": 24 * _HOUR, "all": np.inf}
_PRIOR_RATE, _PRIOR_SHOWS = 0.09, 10.0
_PRIOR_LOG_READ, _PRIOR_READS = 3.0, 5.0


class ArticleLog:
    """Counters of every article.

    Args:
        ids: Every article id, sorted; a row is a position in it.
        length: Characters, NaN where unknown.
        premium: 1 behind the paywall, 0 not, NaN where unknown.
    """

    FIELDS: ClassVar[dict[str, str]] = {
        **{f"clicks_{window}": "log" for window in _WINDOWS},
        **{f"shows_{window}": "log" for window in _WINDOWS},
        **{f"rate_{window}": "quantile" for window in _WINDOWS},
        **{f"rate_{window}_rank": "standard" for window in _WINDOWS},
        "clicks_2h_rank": "standard",
        "shows_2h_rank": "standard",
        "age_hours": "log",
        "age_rank": "standard",
        "id_rank": "standard",
        "id_age": "log",
        "mean_log_read": "standard",
        "mean_log_read_rank": "standard",
        "length": "log",
        "premium": "standard",
        "past_reads": "log",
    }

    def __init__(self, ids: Array, length: Array, premium: Array) -> None:
        self.ids = ids
        self.length = length
        self.premium = premium
        size = len(ids)
        self.clicks = {name: DecayedCounter(size, half_life) for name, half_life in _WINDOWS.items()}
        self.shows = {name: DecayedCounter(size, half_life) for name, half_life in _WINDOWS.items()}
        self.first_seen = np.full(size, np.nan)
        self.reads = np.zeros(size)
        self.log_read_sum = np.zeros(size)
        self.past_reads = np.zeros(size)
        self.newest_id = 0

    @classmethod
    def open(cls, raw: Path) -> "ArticleLog":
        """Read what is fixed of every article: id, length, premium."""
        length, premium = _articles(raw)
        ids = np.unique(np.concatenate([_ints(premium["article_id"]), _ints(length["article_id"]), *_shown_ids(raw)]))
        return cls(ids, _spread(ids, length, "article_length"), _spread(ids, premium, "premium"))

    def rows(self, articles: Array) -> Array:
        """Give the rows of article ids."""
        return np.searchsorted(self.ids, articles)

    def features(self, rows: Array, now: float) -> Candidates:
        """Give what is known of *rows* at *now*."""
        clicks = {name: counter.at(rows, now) for name, counter in self.clicks.items()}
        shows = {name: counter.at(rows, now) for name, counter in self.shows.items()}
        rates = {name: (clicks[name] + _PRIOR_RATE * _PRIOR_SHOWS) / (shows[name] + _PRIOR_SHOWS) for name in _WINDOWS}
        age = np.nan_to_num((now - self.first_seen[rows]) / _HOUR, nan=0.0)
        read = (self.log_read_sum[rows] + _PRIOR_LOG_READ * _PRIOR_READS) / (self.reads[rows] + _PRIOR_READS)
        return {
            **{f"clicks_{name}": values for name, values in clicks.items()},
            **{f"shows_{name}": values for name, values in shows.items()},
            **{f"rate_{name}": values for name, values in rates.items()},
            **{f"rate_{name}_rank": ranks_within(values) for name, values in rates.items()},
            "clicks_2h_rank": ranks_within(clicks["2h"]),
            "shows_2h_rank": ranks_within(shows["2h"]),
            "age_hours": age,
            "age_rank": ranks_within(age),
            "id_rank": ranks_within(self.ids[rows].astype(float)),
            "id_age": np.maximum(0.0, self.newest_id - self.ids[rows]).astype(float),
            "mean_log_read": read,
            "mean_log_read_rank": ranks_within(read),
            "length": self.length[rows],
            "premium": self.premium[rows],
            "past_reads": self.past_reads[rows],
        }

    def shown(self, rows: Array, clicked: Array, now: float) -> None:
        """Count one list."""
        for name in _WINDOWS:
            self.shows[name].add(rows, now)
            self.clicks[name].add(clicked, now)
        self._seen(rows, now)

    def read(self, rows: Array, seconds: float) -> None:
        """Count one reading."""
        self.reads[rows] += 1
        self.log_read_sum[rows] += np.log1p(seconds)

    def past(self, rows: Array, times: Array) -> None:
        """Count readings from before the log."""
        np.add.at(self.past_reads, rows, 1.0)
        np.fmin.at(self.first_seen, rows, times)
        self.newest_id = max(self.newest_id, int(self.ids[rows].max(initial=0)))

    def _seen(self, rows: Array, now: float) -> None:
        self.first_seen[rows] = np.fmin(self.first_seen[rows], now)
        self.newest_id = max(self.newest_id, int(self.ids[rows].max()))


class UserLog:
    """Counters of every user, and of users with articles."""

    FIELDS: ClassVar[dict[str, str]] = {
        "user_clicks": "log",
        "user_mean_log_read": "standard",
        "user_reads": "log",
        "user_lists": "log",
        "user_rate": "standard",
        "user_minutes_since_list": "log",
    }
    PAIR_FIELDS: ClassVar[dict[str, str]] = {
        "seen_before": "log",
        "minutes_since_seen": "log",
        "never_seen": "standard",
        "seen_before_rank": "standard",
        "clicked_before": "log",
    }
    _LONG_AGO_MINUTES = 1e5

    def __init__(self, articles: ArticleLog) -> None:
        self._articles = articles
        self._clicks: Counter[int] = Counter()
        self._lists: Counter[int] = Counter()
        self._list_clicks: Counter[int] = Counter()
        self._reads: Counter[int] = Counter()
        self._log_reads: dict[int, float] = {}
        self._last_list: dict[int, float] = {}
        self._pair_shown: Counter[tuple[int, int]] = Counter()
        self._pair_last: dict[tuple[int, int], float] = {}
        self._pair_clicked: Counter[tuple[int, int]] = Counter()
        self._second_history_at: float | None = None

    @classmethod
    def open(cls, history: Path, articles: ArticleLog) -> "UserLog":
        """Read each user's 21 days before the train folder begins."""
        log = cls(articles)
        log._learn(history, users=None, count_articles=True)
        return log

    def switch_history(self, raw: Path, now: float) -> None:
        """Once the validation folder begins, learn the past of users who were not in the train folder.

        Their history ends where that folder begins, so all of it is known then.
        """
        if self._second_history_at is None:
            first = pq.read_table(raw / "validation" / "behaviors.parquet", columns=["impression_time"])
            self._second_history_at = float(
                first["impression_time"].to_numpy().astype("datetime64[us]").astype(np.int64).min() / 1e6
            )
        if now >= self._second_history_at > 0:
            self._learn(raw / "validation" / "history.parquet", users=set(self._clicks), count_articles=False)
            self._second_history_at = 0.0

    def features(self, user: int, now: float) -> dict[str, Any]:
        """Give what is known of a user at *now*."""
        reads, lists = self._reads[user], self._lists[user]
        minutes = (now - self._last_list[user]) / 60 if user in self._last_list else self._LONG_AGO_MINUTES
        return {
            "user_clicks": float(self._clicks[user]),
            "user_mean_log_read": (self._log_reads.get(user, 0.0) + _PRIOR_LOG_READ * _PRIOR_READS)
            / (reads + _PRIOR_READS),
            "user_reads": float(reads),
            "user_lists": float(lists),
            "user_rate": (self._list_clicks[user] + 5.0) / (lists + 5.0),
            "user_minutes_since_list": minutes,
        }

    def pair_features(self, user: int, rows: Array, now: float) -> Candidates:
        """Give what is known of a user with each of *rows* at *now*."""
        pairs = [(user, row) for row in rows.tolist()]
        seen = np.array([self._pair_shown[pair] for pair in pairs], dtype=float)
        last = np.array([self._pair_last.get(pair, -np.inf) for pair in pairs])
        return {
            "seen_before": seen,
            "minutes_since_seen": np.minimum((now - last) / 60, self._LONG_AGO_MINUTES),
            "never_seen": (seen == 0).astype(float),
            "seen_before_rank": ranks_within(seen),
            "clicked_before": np.array([self._pair_clicked[pair] for pair in pairs], dtype=float),
        }

    def shown(self, user: int, rows: Array, clicked: Array, now: float) -> None:
        """Count one list."""
        self._lists[user] += 1
        self._list_clicks[user] += len(clicked)
        self._clicks[user] += len(clicked)
        self._last_list[user] = now
        for row in rows.tolist():
            self._pair_shown[user, row] += 1
            self._pair_last[user, row] = now
        for row in clicked.tolist():
            self._pair_clicked[user, row] += 1

    def read(self, user: int, seconds: float) -> None:
        """Count one reading."""
        self._reads[user] += 1
        self._log_reads[user] = self._log_reads.get(user, 0.0) + float(np.log1p(seconds))

    def _learn(self, history: Path, *, users: set[int] | None, count_articles: bool) -> None:
        columns = ["user_id", "article_id_fixed", "impression_time_fixed", "read_time_fixed"]
        for user, articles, times, reads in _entries(history, columns):
            if users is not None and user in users:
                continue
            rows = self._articles.rows(np.array(articles))
            self._clicks[user] += len(articles)
            for row in rows.tolist():
                self._pair_clicked[user, row] += 1
            for seconds in reads:
                self.read(user, seconds or 0.0)
            if count_articles:
                self._articles.past(rows, np.array(times, dtype="datetime64[us]").astype(np.int64) / 1e6)


def _entries(history: Path, columns: list[str]) -> Iterator[tuple[Any, ...]]:
    """Read users a few at a time: as Python objects all pasts together would outweigh the log."""
    with pq.ParquetFile(history) as file:
        for batch in file.iter_batches(batch_size=_USERS_AT_ONCE, columns=columns):
            yield from zip(*(batch[column].to_pylist() for column in columns), strict=True)


def _articles(raw: Path) -> tuple[pa.Table, pa.Table]:
    """Read lengths and premium flags from the official ``articles.parquet``, or from an extract's two files.

    The length is that of the body in characters; bodies are never all in memory.
    """
    path = raw / "articles.parquet"
    if not path.is_file():
        return pq.read_table(raw / "articles_length.parquet"), pq.read_table(raw / "articles_premium.parquet")
    with pq.ParquetFile(path) as file:
        parts = [
            pa.table(
                {
                    "article_id": batch["article_id"],
                    "article_length": pc.utf8_length(batch["body"]).cast(pa.float64()),
                    "premium": batch["premium"].cast(pa.float64()),
                }
            )
            for batch in file.iter_batches(batch_size=_ARTICLES_AT_ONCE, columns=["article_id", "body", "premium"])
        ]
    articles = pa.concat_tables(parts)
    return articles, articles


def _ints(column: Any) -> Array:
    return np.asarray(column.to_numpy(), dtype=np.int64)


def _shown_ids(raw: Path) -> list[Array]:
    """Every id that appears anywhere: which rows exist says nothing of what happened to them."""
    found = []
    for split in ("train", "validation"):
        shown = pq.read_table(raw / split / "behaviors.parquet", columns=["article_ids_inview"])
        read = pq.read_table(raw / split / "history.parquet", columns=["article_id_fixed"])
        found += [_ints(shown.column(0).combine_chunks().flatten()), _ints(read.column(0).combine_chunks().flatten())]
    return found


def _spread(ids: Array, table: Any, name: str) -> Array:
    out = np.full(len(ids), np.nan)
    out[np.searchsorted(ids, _ints(table["article_id"]))] = np.asarray(table[name].to_numpy(), dtype=np.float64)
    return out
