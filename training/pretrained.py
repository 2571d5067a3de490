"""Embedding tables that start from vectors made elsewhere.

A file holds one vector a value, under the names ``value`` and ``vector``: a Parquet table (a list of numbers a
row), or an ``.npz`` with arrays ``[K]`` and ``[K, P]``. Values that the vocabulary does not have are passed over,
so fitting it comes first. Where vectors are wider than the table, the table takes their projection on the
directions that keep most of their squared length: the best approximation of that rank (Eckart & Young,
Psychometrika 1936, https://doi.org/10.1007/BF02288367).
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from contract.features import FIRST_ID, FeatureSchema
from training.data.declarations import FieldDeclaration
from training.data.format import Dataset
from training.errors import DataError
from training.models.base import MultiTaskModel
from training.models.embedding import FeatureEmbedding

__all__ = ["read_vectors", "reduced", "start_pretrained"]


def start_pretrained(model: MultiTaskModel, dataset: Dataset, schema: FeatureSchema) -> None:
    """Put the vectors of every field that declares a file into the model's tables, before training.

    Raises:
        DataError: When a file cannot be read, its vectors are narrower than the table, or no value is known.
    """
    embeddings = [module for module in model.modules() if isinstance(module, FeatureEmbedding)]
    for field in dataset.info.fields:
        if field.pretrained is None:
            continue
        path = dataset.path / field.pretrained
        values, vectors = read_vectors(path)
        rows, known = _rows_of(field, values, schema, path)
        for embedding in embeddings:
            vectors_KD = reduced(vectors, embedding.weight.embedding_dim, path)[known]
            embedding.start_table(field.name, torch.from_numpy(rows), torch.from_numpy(vectors_KD), frozen=field.frozen)


def read_vectors(path: Path) -> tuple[list[Any], NDArray[np.float64]]:
    """Give the values of a file and their vectors, ``[K]`` and ``[K, P]``.

    Raises:
        DataError: When the file cannot be read or holds something else.
    """
    try:
        values, vectors = _read_npz(path) if path.suffix == ".npz" else _read_parquet(path)
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise DataError(
            f"{path} holds no vectors: {error}",
            fix="write .npz or Parquet with `value` and `vector`, all vectors of one length",
        ) from None
    if vectors.ndim != 2 or len(vectors) != len(values) or not np.isfinite(vectors).all():
        raise DataError(f"{path} does not hold one vector of finite numbers for each value")
    return values, vectors


def _read_npz(path: Path) -> tuple[list[Any], NDArray[np.float64]]:
    with np.load(path, allow_pickle=False) as stored:
        return stored["value"].tolist(), stored["vector"].astype(np.float64)


def _read_parquet(path: Path) -> tuple[list[Any], NDArray[np.float64]]:
    table = pq.read_table(path, columns=["value", "vector"])
    lists = table["vector"].combine_chunks()
    lengths = pc.list_value_length(lists).unique().to_pylist()
    if len(lengths) != 1 or lengths[0] is None:
        raise ValueError(f"its vectors have the lengths {lengths}")
    numbers = np.asarray(lists.flatten().to_numpy(zero_copy_only=False), dtype=np.float64)
    return table["value"].to_pylist(), numbers.reshape(len(lists), lengths[0])


def _rows_of(
    field: FieldDeclaration, values: list[Any], schema: FeatureSchema, path: Path
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give the table rows of those values that the vocabulary has, and where they stand in the file."""
    vocabulary = {value: FIRST_ID + row for row, value in enumerate(schema.vocabularies[field.name])}
    known = [position for position, value in enumerate(values) if value in vocabulary]
    if not known:
        raise DataError(
            f"{path} has none of the {len(vocabulary)} values of {field.name!r}",
            fix=f"its values must be of the field's type, {field.dtype}",
        )
    return np.array([vocabulary[values[position]] for position in known]), np.array(known)


def reduced(vectors: NDArray[np.float64], dim: int, path: Path) -> NDArray[np.float32]:
    """Give vectors of the table's width: as they are, or their best approximation of that rank, ``[K, dim]``.

    Raises:
        DataError: When they are narrower than the table.
    """
    width = vectors.shape[1]
    if width < dim:
        raise DataError(
            f"the vectors of {path} have {width} numbers, the table {dim}", fix="lower the embedding dim of the model"
        )
    if width == dim:
        return np.asarray(vectors, dtype=np.float32)
    _, directions = np.linalg.eigh(vectors.T @ vectors)  # in order of rising squared length
    kept = directions[:, ::-1][:, :dim]
    # A direction and its opposite are the same one; of both, take that whose largest part is positive.
    kept = kept * np.sign(kept[np.argmax(np.abs(kept), axis=0), np.arange(dim)])
    return np.asarray(vectors @ kept, dtype=np.float32)
