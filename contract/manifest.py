"""The manifest: all that the service knows of a model, in one frozen document."""

from typing import Any, Literal, Self

from pydantic import AwareDatetime, Field, field_validator, model_validator

from contract.features import FeatureSchema
from contract.frozen import Frozen
from contract.fusion import FusionProfile
from contract.tasks import Head, Task
from contract.versions import not_plain

__all__ = ["Manifest", "PreActivation", "Provenance", "TensorSpec"]


class TensorSpec(Frozen):
    """Name, dtype and shape of a graph input or output; symbolic sizes are words, ``R`` and ``N``."""

    name: str
    dtype: Literal["int64", "float32", "uint8"]
    shape: tuple[int | str, ...]


class PreActivation(Frozen):
    """The network in two graphs, so that what depends on an item alone is computed once an item.

    Args:
        prefix: Graph from the candidate tensors to the shares.
        suffix: Graph from request tensors, tables of shares, ``candidate_rows`` int64 ``[N]`` and ``request_index``
            to the same outputs as the whole graph.
        shares: What the candidate adds to each first layer, ``[K, width]``; uint8 where the graphs are quantised.
    """

    prefix: str = "prefix.onnx"
    suffix: str = "suffix.onnx"
    shares: tuple[TensorSpec, ...] = Field(min_length=1)

    @property
    def width(self) -> int:
        """Numbers an item, over all shares."""
        return sum(int(share.shape[1]) for share in self.shares)

    @property
    def item_bytes(self) -> int:
        """Bytes that an item's shares take."""
        return sum(int(share.shape[1]) * (1 if share.dtype == "uint8" else 4) for share in self.shares)


class Provenance(Frozen):
    """Where a bundle comes from, so that it can be made again."""

    created_at: AwareDatetime
    commit: str
    config: dict[str, Any]
    data_fingerprint: str
    seed: int
    libraries: dict[str, str]


class Manifest(Frozen):
    """The contract between training and service.

    Args:
        inputs: Graph inputs, each side packed into an id and a dense array, and ``request_index``.
        heads: Named outputs with units; what fusion formulas may read.
        precision: Of the large products; ``int8`` graphs use operators of ONNX Runtime's own.
        preactivation: Two graphs that are the whole one together; None where the network cannot be cut.
        fusion: The profile to serve with until an operator writes another.
        files: Plain file name to sha256 (hex), for every other file of the bundle.
        metrics: Offline metrics, the headline ones of ``report.json``.
    """

    schema_version: Literal[1] = 1
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
    architecture: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    features: FeatureSchema
    tasks: tuple[Task, ...] = Field(min_length=1)
    heads: tuple[Head, ...] = Field(min_length=1)
    fusion: FusionProfile
    files: dict[str, str]
    precision: Literal["float32", "int8"] = "float32"
    preactivation: PreActivation | None = None
    provenance: Provenance
    metrics: dict[str, float] = Field(default_factory=dict)

    @field_validator("files")
    @classmethod
    def _plain_names(cls, files: dict[str, str]) -> dict[str, str]:
        if bad := not_plain(files):
            msg = f"files are named without a folder, unlike {bad[0]!r}"
            raise ValueError(msg)
        return files

    @model_validator(mode="after")
    def _halves_have_files(self) -> Self:
        halves = self.preactivation
        if halves is not None and (lost := {halves.prefix, halves.suffix} - self.files.keys()):
            msg = f"the files of the pre-activation are missing: {sorted(lost)}"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _heads_have_outputs(self) -> Self:
        lost = {head.output for head in self.heads} - {output.name for output in self.outputs}
        if lost:
            msg = f"heads name graph outputs that do not exist: {sorted(lost)}"
            raise ValueError(msg)
        return self

    def formula_variables(self) -> dict[str, str]:
        """Name what a fusion formula may read besides its weights, and what each is."""
        numbers = {field.name: f"{field.side} field" for field in self.features.fields if field.kind == "numeric"}
        return numbers | {head.name: f"head ({head.unit})" for head in self.heads}
