"""The candidates' half of the first layers, cut off from the rest of a network.

A first layer that reads both sides adds ``W_c·c`` to what it makes of the request. That share depends on the
candidate alone, so it can be computed once an item. To cut a network there, it is run with something in place of
the candidate vectors that only :class:`~training.models.layers.FactoredLinear` can read; a network that does
anything else with them refuses with :class:`NotSeparable` and is served whole.

Shape letters as in :mod:`training.models.layers`; K are the rows of a table of shares.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NoReturn, Protocol

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["CandidateShares", "NotSeparable", "RecordedShares", "ShareSource", "TakenShares", "Unreadable"]


class NotSeparable(Exception):
    """The network reads the candidate otherwise than through first layers that add both sides."""


class Unreadable:
    """Stands where a tensor would, and refuses whatever is done with it."""

    def _refuse(self, *_args: Any, **_rest: Any) -> NoReturn:
        msg = "the network reads the candidate side outside its first layers"
        raise NotSeparable(msg)

    __getattr__ = _refuse
    __getitem__ = __len__ = __iter__ = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __matmul__ = __rmatmul__ = _refuse

    @classmethod
    def __torch_function__(cls, *_args: Any, **_rest: Any) -> NoReturn:
        """Refuse: any torch function that is given one comes here."""
        msg = "the network reads the candidate side outside its first layers"
        raise NotSeparable(msg)


class CandidateShares(Unreadable, ABC):
    """Stands for candidate vectors ``[N, C]``; gives each layer its share."""

    @abstractmethod
    def share(self, layer: nn.Module, outputs: slice) -> Tensor:
        """Give the columns *outputs* of the layer's ``W_c·c``, ``[N, outputs]``."""


class ShareSource(Protocol):
    """Gives what the embedding of the candidate side is replaced by."""

    def of(self, features: nn.Module) -> CandidateShares:
        """Give the shares of the layers that read these features."""
        ...


class RecordedShares(CandidateShares):
    """Computes shares as ever, and keeps which layers asked.

    Args:
        vector_NC: The candidate vectors.
        layers: Where to put the layers that ask, in the order of their first asking.
    """

    def __init__(self, vector_NC: Tensor, layers: list[nn.Module]) -> None:
        self.vector_NC, self.layers = vector_NC, layers

    def share(self, layer: nn.Module, outputs: slice) -> Tensor:
        """Compute it, and remember the layer."""
        if all(layer is not known for known in self.layers):
            self.layers.append(layer)
        whole_NH: Tensor = layer.candidate(self.vector_NC)  # type: ignore[operator]
        return whole_NH[:, outputs]


class TakenShares(CandidateShares):
    """Takes shares out of tables.

    Args:
        tables: By the layer's ``share_name``, ``[K, H]`` of what its ``W_c·c`` is for each row.
        rows_N: The row of each candidate, int64.
    """

    def __init__(self, tables: Mapping[str, Tensor], rows_N: Tensor) -> None:
        self.tables, self.rows_N = tables, rows_N

    def share(self, layer: nn.Module, outputs: slice) -> Tensor:
        """Take it; equal parts of the columns are rows of a narrower table, so nothing is cut or moved twice."""
        table_KH = self.tables[str(layer.share_name)]
        width = (outputs.stop or table_KH.shape[1]) - (outputs.start or 0)
        parts = table_KH.shape[1] // width
        if parts == 1:
            return F.embedding(self.rows_N, table_KH)
        place_N = self.rows_N * parts + (outputs.start or 0) // width
        return F.embedding(place_N, table_KH.reshape(-1, width))
