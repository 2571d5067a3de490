"""One loaded version of one model."""

from typing import Any

from contract.arrays import GraphInputs
from contract.bundle import Bundle
from contract.calibration import apply_calibration
from contract.encoding import Encoder
from service.ports import Inference, ItemStore, ModelRuntime
from service.runtime.batcher import Batcher

__all__ = ["LoadedModel"]


class LoadedModel:
    """A manifest, its encoder, its items and a queue in front of its graph; never changes.

    Args:
        bundle: What it was loaded from.
        example: A complete request body, made from the golden rows.
    """

    def __init__(
        self,
        *,
        bundle: Bundle,
        encoder: Encoder,
        items: ItemStore,
        runtime: ModelRuntime,
        batcher: Batcher,
        example: dict[str, Any],
    ) -> None:
        self.version = bundle.version
        self.manifest = bundle.manifest
        self.encoder = encoder
        self.items = items
        self.example = example
        self._runtime = runtime
        self._batcher = batcher

    def check_room(self, *, rows: int, deadline: float | None) -> None:
        """Refuse early what would be refused later; see :class:`service.ports.ServedModel`."""
        self._batcher.check(rows=rows, deadline=deadline)

    async def predict(self, inputs: GraphInputs, *, deadline: float | None) -> Inference:
        """Score one request's rows; see :class:`service.ports.ServedModel`."""
        raw = await self._batcher.submit(inputs, deadline=deadline)
        heads = {head.name: apply_calibration(head.calibration, raw.heads[head.output]) for head in self.manifest.heads}
        return Inference(heads=heads, queue_s=raw.queue_s, infer_s=raw.infer_s)

    async def aclose(self) -> None:
        """Finish what was accepted, then free the graph."""
        await self._batcher.aclose()
        self._runtime.close()
