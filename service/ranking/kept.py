"""What is kept of a ranked request: numbers, and ids that nobody can read back."""

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.arrays import FloatArray, Predictions
from contract.encoding import numeric_column
from contract.features import Categorical, FeatureSchema, Hashed
from contract.manifest import Manifest
from contract.tasks import Unit
from service.ports import Assignment, RankedRequest

__all__ = ["MISSING", "OTHER_VALUE", "IdHash", "KeptModel", "KeptRequest", "Unpacked", "keep", "segment_fields"]

MISSING = "(missing)"
OTHER_VALUE = "(not in the vocabulary)"
_MOST_READABLE_VALUES = 1_000  # a field of more values says who somebody is
_LONGEST_VALUE = 64
_IDS_AT_A_TIME = 256  # about as many as are hashed in a third of a millisecond
_PAUSE_S = 0.0005


class IdHash:
    """Hashes ids with a key that never leaves the process, so that no list of known ids can undo it (BLAKE2, RFC 7693).

    Args:
        key: Up to 64 bytes; random when None.
    """

    def __init__(self, key: bytes | None = None) -> None:
        self._key = key or secrets.token_bytes(32)

    def one(self, value: Any) -> str:
        """Hash one id, to 16 hexadecimal digits."""
        return self._digest(str(value)).hex()

    def column(self, ids: Sequence[str]) -> NDArray[np.uint64]:
        """Hash many ids, to uint64 ``[N]``; between parts of a long list the interpreter is left to other threads."""
        parts: list[bytes] = []
        for start in range(0, len(ids), _IDS_AT_A_TIME):
            if parts:
                time.sleep(_PAUSE_S)
            parts.extend(map(self._digest, ids[start : start + _IDS_AT_A_TIME]))
        return np.frombuffer(b"".join(parts), dtype=">u8").astype(np.uint64)

    def _digest(self, text: str) -> bytes:
        return blake2b(text.encode(errors="surrogatepass"), digest_size=8, key=self._key).digest()


@dataclass(frozen=True, kw_only=True, eq=False)
class KeptModel:
    """The version that scored kept requests: names and units, so that the model itself may leave memory.

    Args:
        variables: What a formula may read, and what each is.
        heads: Name to unit.
        request_numbers: Number fields of the request.
        candidate_numbers: Number fields of the candidates.
        segments: Request fields by whose value requests can be told apart, and their readable values; None where
            values are hashed, since they say who somebody is.
    """

    name: str
    version: int
    variables: Mapping[str, str]
    heads: Mapping[str, Unit]
    request_numbers: tuple[str, ...]
    candidate_numbers: tuple[str, ...]
    segments: Mapping[str, frozenset[Any] | None]

    @property
    def key(self) -> tuple[str, int]:
        """Name and version."""
        return self.name, self.version

    @classmethod
    def of(cls, manifest: Manifest, version: int) -> "KeptModel":
        """Take what is needed from a manifest."""
        schema = manifest.features
        return cls(
            name=manifest.name,
            version=version,
            variables=manifest.formula_variables(),
            heads={head.name: head.unit for head in manifest.heads},
            request_numbers=tuple(field.name for field in schema.numbers_on("request")),
            candidate_numbers=tuple(field.name for field in schema.numbers_on("candidate")),
            segments=_segments(schema),
        )


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class KeptRequest:
    """One request of n candidates.

    Args:
        size: n.
        taken_at: Monotonic seconds.
        turned: Whether it was ranked with other weights than the profile's.
        segments: One value for each of the model's segments.
        packed: All numbers, end to end: a handful of objects would cost more than it holds, here and on the way to
            another process. See :class:`Unpacked`.
    """

    model: KeptModel
    profile: str
    size: int
    taken_at: float
    turned: bool
    segments: tuple[str, ...]
    packed: bytes


@dataclass(frozen=True, kw_only=True, eq=False)
class Unpacked:
    """The numbers of one request, as views of its bytes.

    Args:
        request_numbers: Float64 ``[request numbers]``.
        numbers: Float64 ``[candidate numbers, n]``.
        items: Hashed ids, uint64 ``[n]``.
        heads: Float32 ``[heads, n]``, in the order of the model's heads.
    """

    request_numbers: NDArray[np.float64]
    numbers: NDArray[np.float64]
    items: NDArray[np.uint64]
    heads: NDArray[np.float32]

    @classmethod
    def of(cls, packed: bytes, size: int, model: KeptModel) -> "Unpacked":
        """Read what :meth:`pack` wrote."""
        own, columns = len(model.request_numbers), len(model.candidate_numbers)
        floats = np.frombuffer(packed, dtype=np.float64, count=own + columns * size)
        items = np.frombuffer(packed, dtype=np.uint64, count=size, offset=floats.nbytes)
        heads = np.frombuffer(packed, dtype=np.float32, offset=floats.nbytes + items.nbytes)
        return cls(
            request_numbers=floats[:own],
            numbers=floats[own:].reshape(columns, size),
            items=items,
            heads=heads.reshape(len(model.heads), size),
        )

    def pack(self) -> bytes:
        """Give all arrays as bytes, the widest types first, so that each stays aligned."""
        return b"".join(array.tobytes() for array in (self.request_numbers, self.numbers, self.items, self.heads))


def keep(
    request: RankedRequest,
    *,
    model: KeptModel,
    schema: FeatureSchema,
    by: Assignment,
    heads: Predictions,
    stored: Mapping[str, FloatArray],
    taken_at: float,
    id_hash: IdHash,
) -> KeptRequest:
    """Copy a request: heads are views of a whole batch, which must not stay in memory for their sake.

    Args:
        heads: Head values ``[n]`` by name.
        stored: Number fields ``[n]`` that the item table knows; what the request itself gives goes first.
    """
    size = len(request.item_ids)
    given = request.candidates
    columns = [
        numeric_column(field, given.get(field.name, stored.get(field.name)), size)
        for field in schema.numbers_on("candidate")
    ]
    values = [numeric_column(field, [request.request.get(field.name)], 1)[0] for field in schema.numbers_on("request")]
    unpacked = Unpacked(
        request_numbers=np.array(values, dtype=np.float64),
        numbers=np.array(columns, dtype=np.float64),
        items=id_hash.column(request.item_ids),
        heads=np.array([heads[name] for name in model.heads], dtype=np.float32),
    )
    return KeptRequest(
        model=model,
        profile=by.profile,
        size=size,
        taken_at=taken_at,
        turned=bool(by.weights),
        segments=tuple(_shown(request.request.get(name), known, id_hash) for name, known in model.segments.items()),
        packed=unpacked.pack(),
    )


def segment_fields(schema: FeatureSchema) -> tuple[str, ...]:
    """Name the request fields by whose value requests can be told apart."""
    return tuple(field.name for field in schema.on("request") if isinstance(field, Categorical | Hashed))


def _segments(schema: FeatureSchema) -> dict[str, frozenset[Any] | None]:
    found: dict[str, frozenset[Any] | None] = dict.fromkeys(segment_fields(schema))
    for field in schema.on("request"):
        if isinstance(field, Categorical):
            values = schema.vocabularies[field.table]
            found[field.name] = frozenset(values) if len(values) <= _MOST_READABLE_VALUES else None
    return found


def _shown(value: Any, known: frozenset[Any] | None, id_hash: IdHash) -> str:
    """Give the value of a segment; only what the model's own vocabulary holds is kept readable."""
    if value is None:
        return MISSING
    if known is None:
        return id_hash.one(value)
    return str(value)[:_LONGEST_VALUE] if value in known else OTHER_VALUE
