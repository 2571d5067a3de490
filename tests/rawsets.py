"""Small raw sets in their owners' layouts, invented row by row; no real data is needed to read them."""

import gzip
import io
import tarfile
import zipfile
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from training.data import census

START = datetime(2023, 5, 18)  # noqa: DTZ001 - EB-NeRD's own times carry no zone
ARTICLES = 9_000_000 + np.arange(40)


def write_ebnerd(raw: Path, *, train: int = 120, validation: int = 40, official: bool = False) -> Path:
    """Write the folders ``train`` (its lists spread over two days) and ``validation`` (over the next).

    Args:
        official: Articles as their owner publishes them, and not as an extract of lengths and premium flags.
    """
    rng = np.random.default_rng(0)
    _ebnerd_split(raw / "train", rng, train, START, timedelta(days=2))
    _ebnerd_split(raw / "validation", rng, validation, START + timedelta(days=2, minutes=1), timedelta(days=1))
    lengths = 100 + np.arange(30)
    if official:
        bodies = [*("å" * length for length in lengths), *([None] * 10)]
        articles = {
            "article_id": pa.array(ARTICLES, pa.int32()),
            "title": ["a title"] * 40,
            "premium": (np.arange(40) % 2).astype(bool),
            "body": pa.array(bodies, pa.string()),
            "published_time": pa.array([START] * 40, pa.timestamp("us")),
        }
        pq.write_table(pa.table(articles), raw / "articles.parquet")
    else:
        known = {"article_id": pa.array(ARTICLES[:30], pa.int32()), "article_length": pa.array(lengths, pa.uint32())}
        pq.write_table(pa.table(known), raw / "articles_length.parquet")
        premium = {"article_id": pa.array(ARTICLES, pa.int32()), "premium": pa.array(np.arange(40) % 2, pa.float32())}
        pq.write_table(pa.table(premium), raw / "articles_premium.parquet")
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


KUAIRAND_LOG = (
    "user_id", "video_id", "date", "hourmin", "time_ms", "is_click", "is_like", "is_follow", "is_comment", "is_forward",
    "is_hate", "long_view", "play_time_ms", "duration_ms", "profile_stay_time", "comment_stay_time",
    "is_profile_enter", "is_rand", "tab",
)  # fmt: skip


def write_kuairand(raw: Path, *, official: bool = True, rows: int = 400, days: int = 4) -> Path:
    """Write KuaiRand-Pure's CSV files under ``KuaiRand-Pure/data``, or the same rows as the Parquet extract."""
    rng = np.random.default_rng(0)
    day = np.sort(rng.integers(0, days, rows))
    columns: dict[str, np.ndarray] = {name: np.zeros(rows, dtype=np.int64) for name in KUAIRAND_LOG}
    columns |= {name: rng.integers(0, 2, rows) for name in ("is_click", "is_like", "long_view")}
    columns |= {"user_id": rng.integers(0, 20, rows), "video_id": rng.integers(0, 50, rows)}
    columns |= {"date": 20220420 + day, "time_ms": 1_650_400_000_000 + day * 86_400_000 + np.arange(rows) * 1_000}
    columns |= {"play_time_ms": rng.integers(0, 90_000, rows), "duration_ms": rng.integers(5_000, 90_000, rows)}
    log, users = pa.table(columns), _kuairand_users(20)
    if not official:
        raw.mkdir(parents=True)
        pq.write_table(log.append_column("label", log["is_like"]), raw / "log.parquet")
        pq.write_table(users, raw / "user_features.parquet")
        return raw
    folder = raw / "KuaiRand-Pure" / "data"
    folder.mkdir(parents=True)
    (raw / "KuaiRand-Pure" / "LICENSE").write_text("CC BY-SA 4.0")
    half = int(np.searchsorted(day, 2))
    for name, part in (("4_08_to_4_21", log.slice(0, half)), ("4_22_to_5_08", log.slice(half))):
        pa.csv.write_csv(part, folder / f"log_standard_{name}_pure.csv")
    pa.csv.write_csv(log, folder / "log_random_4_22_to_5_08_pure.csv")
    pa.csv.write_csv(users, folder / "user_features_pure.csv")
    return raw


def _kuairand_users(count: int) -> pa.Table:
    columns: dict[str, pa.Array] = {"user_id": pa.array(range(count), pa.int64())}
    columns |= {
        "user_active_degree": pa.array(["full_active"] * count),
        "follow_user_num_range": pa.array(["(0,10]"] * count),
        "fans_user_num_range": pa.array(["0"] * count),
        "friend_user_num_range": pa.array(["0"] * count),
        "register_days_range": pa.array(["730+"] * count),
    }
    numbers = (
        "is_lowactive_period", "is_live_streamer", "is_video_author", "follow_user_num", "fans_user_num",
        "friend_user_num", "register_days", *(f"onehot_feat{n}" for n in range(17)),
    )  # fmt: skip
    columns |= {name: pa.array([n % 3 for n in range(count)], pa.int64()) for name in numbers}
    columns["onehot_feat17"] = pa.array([None, *([1.0] * (count - 1))], pa.float64())
    return pa.table(columns)


def census_lines(count: int, *, age: int = 30) -> str:
    """Give lines as the official files hold them; every other person earns more, every third never married."""
    lines = []
    for person in range(count):
        line = dict.fromkeys(census.COLUMNS, "x") | dict.fromkeys(census.NUMBERS, "1")
        line |= {"age": str(age + person % 40), "income": " 50000+." if person % 2 else "- 50000."}
        line["marital_stat"] = "Divorced" if person % 3 else "Never married"
        lines.append(", ".join(line.values()) + "\n")
    return "".join(lines)


def zip_of(files: dict[str, bytes]) -> bytes:
    """Pack files as a zip."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return out.getvalue()


def tar_gz_of(files: dict[str, bytes | tarfile.TarInfo]) -> bytes:
    """Pack files as a tar.gz; a link or a device comes as the header that says so."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as packed:
        for name, content in files.items():
            if isinstance(content, tarfile.TarInfo):
                packed.addfile(content)
                continue
            header = tarfile.TarInfo(name)
            header.size = len(content)
            packed.addfile(header, io.BytesIO(content))
    return out.getvalue()


def files_under(folder: Path) -> dict[str, bytes]:
    """Read every file under a folder, by its path within it."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def official_archive(name: str, scratch: Path) -> bytes:
    """Give a small archive in the layout of its owner."""
    if name.startswith("ebnerd"):
        return zip_of(files_under(write_ebnerd(scratch, official=True)))
    if name == "kuairand-pure":
        return tar_gz_of(files_under(write_kuairand(scratch)))
    lines = {kind: census_lines(count).encode() for kind, count in (("data", 120), ("test", 80))}
    if name == "census-income":
        return zip_of({"census.tar.gz": tar_gz_of({f"census-income.{kind}": text for kind, text in lines.items()})})
    return zip_of({f"census-income.{kind}.gz": gzip.compress(text) for kind, text in lines.items()})
