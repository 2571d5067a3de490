"""Census-Income (KDD), the benchmark of the MMoE and PLE papers, under three protocols.

UCI Machine Learning Repository, https://doi.org/10.24432/C5N30T. J. Ma et al., KDD 2018, §6.3: income above 50 K
and never married, with education and marital status out of the inputs and the instance weight dropped.

- ``census-a``: the official split of a file with 33 of the 40 features; a tenth of train is validation.
- ``census-b``: all 40 features; the official test file, two thirds train (a tenth of it validation), one third test.
- ``census-income``: the papers' own: ``census-income.data`` trains, the test file is halved into validation and
  test. Needs both official files (``fulcrum data fetch census-income``).

The second pair of tasks of that paper, education of at least some college and never married, is ``census-a-education``
and so on. Income is an input of neither pair.

The official files are read as they are or with ``.gz`` behind: their owner has published both.

A row is a person and not a list: each stands alone as one candidate of one request, every feature on its side.
"""

import gzip
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from training.data.format import Dataset, DatasetInfo, DatasetWriter, FieldDeclaration, LabelDeclaration, open_dataset
from training.errors import DataError

__all__ = ["PROTOCOLS", "has_files", "prepare", "read_official"]

_EDUCATION = "-education"
_SPLITTINGS = ("census-a", "census-b", "census-income")
PROTOCOLS = tuple(name + group for group in ("", _EDUCATION) for name in _SPLITTINGS)
COLUMNS = (
    "age", "class_worker", "det_ind_code", "det_occ_code", "education", "wage_per_hour", "hs_college", "marital_stat",
    "major_ind_code", "major_occ_code", "race", "hisp_origin", "sex", "union_member", "unemp_reason",
    "full_or_part_emp", "capital_gains", "capital_losses", "stock_dividends", "tax_filer_stat", "region_prev_res",
    "state_prev_res", "det_hh_fam_stat", "det_hh_summ", "instance_weight", "mig_chg_msa", "mig_chg_reg",
    "mig_move_reg", "mig_same", "mig_prev_sunbelt", "num_emp", "fam_under_18", "country_father", "country_mother",
    "country_self", "citizenship", "own_or_self", "vet_question", "vet_benefits", "weeks_worked", "year", "income",
)  # fmt: skip
NUMBERS = ("age", "wage_per_hour", "capital_gains", "capital_losses", "stock_dividends", "num_emp", "weeks_worked")
_NOT_INPUTS = {"education", "marital_stat", "instance_weight", "income", "split"}
# Whole numbers of few values say more as ids than as one number: a network need not find a curve's corners.
_AS_IDS = {name: f"{name}_id" for name in NUMBERS}
_MIN_COUNT = 20
_COLLEGE = ("some", "associate", "bachelor", "master", "prof", "doctorate")
_GROUP = 5_000
_EXTRACT = "census_income_nominal.parquet"
_OFFICIAL = {"census-b": ("test",), "census-income": ("data", "test")}
_Columns = dict[str, NDArray[Any]]


def prepare(
    raw: Path,
    out: Path,
    *,
    protocol: str = "census-a",
    rows: int | None = None,
    seed: int = 0,
    progress: Callable[[int], None] = lambda rows: None,
) -> Dataset:
    """Prepare one protocol.

    Args:
        raw: Folder with the official files, or those of the data's README.
        rows: Keeps about that many training rows, and the same share of the others.
        seed: Of the random splits.
    """
    splits = _SPLITS[_splitting(protocol)](raw, np.random.default_rng(seed))
    info = _info(protocol, [name for name in splits["train"] if name not in _NOT_INPUTS])
    share = min(1.0, (rows or np.inf) / _size(splits["train"]))
    first = 0
    with DatasetWriter(out, info) as writer:
        for split, columns in splits.items():
            kept = max(1, round(_size(columns) * share))
            for start in range(0, kept, _GROUP):
                part = {name: values[start : min(start + _GROUP, kept)] for name, values in columns.items()}
                writer.write(split, _table(part, first + start, info))
                progress(_size(part))
            first += kept
    return open_dataset(out)


def _splitting(protocol: str) -> str:
    return protocol.removesuffix(_EDUCATION)


def has_files(raw: Path, protocol: str) -> bool:
    """Tell whether a folder holds what a protocol reads."""
    protocol = _splitting(protocol)
    if protocol == "census-a":
        return (raw / _EXTRACT).is_file()
    return all(_official(raw, kind) is not None for kind in _OFFICIAL[protocol])


def _official(raw: Path, kind: str) -> Path | None:
    places = raw / f"census-income.{kind}", raw / f"census-income.{kind}.gz"
    return next((place for place in places if place.is_file()), None)


def read_official(path: Path) -> _Columns:
    """Read ``census-income.data`` or ``census-income.test``, packed by gzip or not.

    Raises:
        DataError: When a line has not the 42 fields of the official files.
    """
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        rows = [_fields(line) for line in lines if line.strip()]
    if wrong := next((number for number, row in enumerate(rows, 1) if len(row) != len(COLUMNS)), None):
        raise DataError(f"{path}: line {wrong} has not {len(COLUMNS)} fields", fix="fetch the file again")
    return {
        name: np.array(values, dtype=np.float64 if name in NUMBERS else object)
        for name, values in zip(COLUMNS, zip(*rows, strict=True), strict=True)
    }


def _fields(line: str) -> list[str]:
    """Split a line; the same few words fill the whole file, so one copy of each is kept."""
    return [sys.intern(part.strip()) for part in line.strip().rstrip(".").split(",")]


def _protocol_a(raw: Path, rng: np.random.Generator) -> dict[str, _Columns]:
    table = pq.read_table(raw / _EXTRACT)
    columns = {name: np.array(table[name].to_pylist(), dtype=object) for name in table.column_names}
    official_train = columns["split"] == "train"
    train, validation = _parted(_chosen(columns, official_train), (0.9, 0.1), rng)
    return {"train": train, "validation": validation, "test": _chosen(columns, ~official_train)}


def _protocol_b(raw: Path, rng: np.random.Generator) -> dict[str, _Columns]:
    parts = _parted(_read(raw, "test"), (0.6, 2 / 3 - 0.6, 1 / 3), rng)
    return dict(zip(("train", "validation", "test"), parts, strict=True))


def _papers_own(raw: Path, rng: np.random.Generator) -> dict[str, _Columns]:
    train = _read(raw, "data")
    validation, test = _parted(_read(raw, "test"), (0.5, 0.5), rng)
    return {"train": train, "validation": validation, "test": test}


def _read(raw: Path, kind: str) -> _Columns:
    path = _official(raw, kind)
    if path is None:
        raise DataError(f"census-income.{kind} is not in {raw}", fix="fulcrum data fetch census-income")
    return read_official(path)


_SPLITS = {"census-a": _protocol_a, "census-b": _protocol_b, "census-income": _papers_own}


def _parted(columns: _Columns, shares: Iterable[float], rng: np.random.Generator) -> list[_Columns]:
    size = _size(columns)
    edges = np.round(np.cumsum(list(shares)) * size).astype(int)[:-1]
    return [_chosen(columns, rows) for rows in np.split(rng.permutation(size), edges)]


def _chosen(columns: _Columns, rows: NDArray[Any]) -> _Columns:
    return {name: values[rows] for name, values in columns.items()}


def _size(columns: _Columns) -> int:
    return len(columns["income"])


def _table(columns: _Columns, first: int, info: DatasetInfo) -> pa.Table:
    size = _size(columns)
    names = [f"{first + row}" for row in range(size)]
    # No time was recorded; the order of train, validation and test stands in for it.
    data: dict[str, Any] = {"request_id": names, "time": pa.array(range(first, first + size), pa.timestamp("us"))}
    data |= {"user_id": names, "item_id": [[name] for name in names]}
    data |= {name: [[value] for value in columns[name].tolist()] for name in columns if name not in _NOT_INPUTS}
    data |= {
        as_id: [[round(value)] for value in columns[name].tolist()]
        for name, as_id in _AS_IDS.items()
        if name in columns
    }
    data["income_above_50k"] = [[float("-" not in value)] for value in columns["income"].tolist()]
    data["college"] = [[float(value.lower().startswith(_COLLEGE))] for value in columns["education"].tolist()]
    data["never_married"] = [[float(value.lower().startswith("never"))] for value in columns["marital_stat"].tolist()]
    return pa.table(data).select(info.arrow_schema().names)


def _info(protocol: str, names: list[str]) -> DatasetInfo:
    first = "college" if protocol.endswith(_EDUCATION) else "income_above_50k"
    return DatasetInfo(
        name=protocol,
        description="Census-Income (KDD): " + {"college": "education", "income_above_50k": "income"}[first],
        fields=(*(_field(name) for name in names), *(_id_field(_AS_IDS[name]) for name in names if name in _AS_IDS)),
        labels=(LabelDeclaration(name=first, kind="binary"), LabelDeclaration(name="never_married", kind="binary")),
        default_formula=first,
        notes=f"Protocol {protocol}; only census-income is the papers' own.",
    )


def _field(name: str) -> FieldDeclaration:
    if name in NUMBERS:
        return FieldDeclaration(name=name, side="candidate", kind="numeric", dtype="float", scaling="piecewise")
    return FieldDeclaration(name=name, side="candidate", kind="categorical", dtype="string")


def _id_field(name: str) -> FieldDeclaration:
    return FieldDeclaration(name=name, side="candidate", kind="categorical", dtype="int", min_count=_MIN_COUNT)
