"""Stand-ins for the ports: small, deterministic, and held to the same suites as the adapters."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from contract.arrays import GraphInputs, Predictions
from contract.calibration import apply_calibration
from contract.encoding import Encoder, numeric_column
from contract.manifest import Manifest
from service.errors import InferenceFailed, NotReady, ServiceError, UnknownModel
from service.ports import Inference, ItemRows, ServedModel
from tests.factories import tiny_manifest, tiny_outputs

PATIENCE_S = 10.0
"""After this long a test that would hang fails instead."""


class ManualClock:
    """A clock that a test moves by hand."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class FakeRuntime:
    """The tiny graph in NumPy."""

    def __init__(self, *, gain: float = 1.0) -> None:
        self.gain = gain
        self.closed = False

    def run(self, inputs: GraphInputs) -> Predictions:
        if self.closed:
            raise InferenceFailed("the graph is closed")
        try:
            return tiny_outputs(inputs, gain=self.gain)
        except IndexError as error:
            raise InferenceFailed(f"the graph failed: {error}") from error

    def close(self) -> None:
        self.closed = True


class Recorder:
    """Remembers what observers are told."""

    def __init__(self) -> None:
        self.batches: list[tuple[int, int]] = []
        self.calls: list[Mapping[str, Any]] = []
        self.refusals: list[str] = []
        self.swaps: list[str] = []
        self.ranks: list[Mapping[str, Any]] = []

    def observe_batch(self, *, rows: int, requests: int, **facts: Any) -> None:
        self.batches.append((rows, requests))
        self.calls.append({"rows": rows, "requests": requests, **facts})

    def observe_refusal(self, *, reason: str) -> None:
        self.refusals.append(reason)

    def observe_swap(self, *, result: str) -> None:
        self.swaps.append(result)

    def observe_rank(self, **facts: Any) -> None:
        self.ranks.append(facts)


class FakeItemStore:
    """Items in a dict of dicts."""

    def __init__(self, encoder: Encoder, items: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self._encoder = encoder
        self._items = items or {}

    async def fetch(self, item_ids: Sequence[str]) -> ItemRows:
        known = [self._items.get(item, {}) for item in item_ids]
        names = {name for item in self._items.values() for name in item}
        columns = {name: [item.get(name) for item in known] for name in sorted(names)}
        numbers = {
            field.name: numeric_column(field, columns[field.name], len(item_ids))
            for field in self._encoder.schema.numbers_on("candidate")
            if field.name in columns
        }
        return ItemRows(
            encoded=self._encoder.encode("candidate", columns, len(item_ids)),
            numbers=numbers,
            found=np.array([item in self._items for item in item_ids], dtype=bool),
        )


class FakeModel:
    """A served model without a queue."""

    def __init__(
        self,
        *,
        manifest: Manifest | None = None,
        version: int = 1,
        items: Mapping[str, Mapping[str, Any]] | None = None,
        gain: float = 1.0,
        on_predict: Callable[[], None] = lambda: None,
        refuses: ServiceError | None = None,
    ) -> None:
        self.refuses = refuses
        self.manifest = manifest or tiny_manifest()
        self.version = version
        self.encoder = Encoder(self.manifest.features)
        self.items = FakeItemStore(self.encoder, items)
        self.deadlines: list[float | None] = []
        self._runtime = FakeRuntime(gain=gain)
        self._on_predict = on_predict

    def check_room(self, *, rows: int, deadline: float | None) -> None:
        if self.refuses:
            raise self.refuses

    async def predict(self, inputs: GraphInputs, *, deadline: float | None) -> Inference:
        self.deadlines.append(deadline)
        self._on_predict()
        raw = self._runtime.run(inputs)
        heads = {head.name: apply_calibration(head.calibration, raw[head.output]) for head in self.manifest.heads}
        return Inference(heads=heads, queue_s=0.25, infer_s=0.5)


class FakeCatalog:
    """A fixed set of models."""

    def __init__(self, *models: ServedModel) -> None:
        self.models = {model.manifest.name: model for model in models}

    def current(self, name: str | None) -> ServedModel:
        if not self.models:
            raise NotReady("no model is loaded")
        if name is None and len(self.models) == 1:
            return next(iter(self.models.values()))
        if name is None or name not in self.models:
            raise UnknownModel(f"there is no model {name!r}", path="/model")
        return self.models[name]

    def all(self) -> Sequence[ServedModel]:
        return [self.models[name] for name in sorted(self.models)]
