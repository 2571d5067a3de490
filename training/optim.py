"""The optimisers: fused AdamW for dense weights, Adam on touched rows alone for embedding tables."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from training.config import OptimConfig
from training.models.base import MultiTaskModel, ParameterGroup

__all__ = ["Optimisers", "RowAdam", "tables_of"]


def tables_of(model: nn.Module) -> list[nn.Parameter]:
    """Give the embedding tables of a model."""
    tables = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    return [parameter for table in tables for parameter in table.parameters()]


class RowAdam(torch.optim.Optimizer):
    """Adam whose moments and weights move only on the rows that the batch looked up, known as lazy Adam.

    A step costs as much as the batch has ids, not as much as the table has rows. The moments of a row that is not
    looked up stand still instead of fading. D. Kingma & J. Ba, ICLR 2015, https://arxiv.org/abs/1412.6980.

    Args:
        tables: Weights of ``nn.Embedding(…, sparse=True)``, float32 ``[V, D]``.
        lr: Learning rate.
    """

    def __init__(
        self, tables: Iterable[nn.Parameter], *, lr: float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8
    ) -> None:
        super().__init__(tables, {"lr": lr, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Move the rows that have a gradient."""
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is not None:
                    self._move(table, group)

    def _move(self, table: nn.Parameter, group: dict[str, Any]) -> None:
        state = self.state[table] or self._start(table)
        rows_V, gradient_VD = _summed(table.grad, state)
        state["step"] += 1
        beta1, beta2 = group["betas"]
        moments_V2D = state["moments"].index_select(0, rows_V)
        mean_VD, square_VD = moments_V2D.chunk(2, dim=1)
        mean_VD.lerp_(gradient_VD, 1.0 - beta1)
        square_VD.mul_(beta2).addcmul_(gradient_VD, gradient_VD, value=1.0 - beta2)
        state["moments"].index_copy_(0, rows_V, moments_V2D)
        scale = group["lr"] / (1.0 - beta1 ** state["step"])
        root_VD = (square_VD / (1.0 - beta2 ** state["step"])).sqrt_().add_(group["eps"])
        # Rows are distinct, so a copy will do; index_add_ walks row by row.
        table.index_copy_(0, rows_V, table.index_select(0, rows_V).addcdiv_(mean_VD, root_VD, value=-scale))

    def _start(self, table: nn.Parameter) -> dict[str, Any]:
        state: dict[str, Any] = self.state[table]
        state["step"] = 0
        # Both moments of a row side by side: one trip to memory fetches them.
        state["moments"] = table.new_zeros(len(table), 2 * table.shape[1])
        state["place"] = torch.zeros(len(table), dtype=torch.int64)
        return state


def _summed(gradient: Tensor | None, state: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Sum a sparse gradient by row without sorting its ids.

    Every id writes its own position into its row's place; the last one stays, and so stands for its row.
    """
    assert gradient is not None  # noqa: S101 - the caller looked
    if not gradient.is_sparse:
        return torch.arange(len(gradient)), gradient
    ids_L, values_LD = gradient._indices()[0], gradient._values()  # noqa: SLF001 - the public ones demand sorting
    positions_L, place_V = torch.arange(len(ids_L)), state["place"]
    place_V[ids_L] = positions_L
    leaders_L = place_V.index_select(0, ids_L)
    is_leader_L = leaders_L == positions_L
    if bool(is_leader_L.all()):
        return ids_L, values_LD
    rows_V = ids_L[is_leader_L]
    compact_L = is_leader_L.cumsum(0) - 1
    targets_LD = compact_L.index_select(0, leaders_L).unsqueeze(1).expand_as(values_LD)
    summed_VD = values_LD.new_zeros(len(rows_V), values_LD.shape[1])
    return rows_V, summed_VD.scatter_add_(0, targets_LD, values_LD)


def _settings(group: ParameterGroup, config: OptimConfig) -> dict[str, Any]:
    return {
        "params": list(group.parameters),
        "lr": config.learning_rate * group.learning_rate_factor,
        "weight_decay": config.weight_decay if group.has_decay else 0.0,
    }


class Optimisers:
    """Steps all weights of a model, and what its balancer learns.

    Args:
        model: Its embedding tables get no weight decay: it would shrink the vectors of rare ids to nothing. Weights
            of its :meth:`~training.models.base.MultiTaskModel.parameter_groups` have rates of their own.
        learned: Parameters outside the model, without decay.
        config: Rates.
    """

    def __init__(self, model: MultiTaskModel, learned: list[nn.Parameter], config: OptimConfig) -> None:
        tables = tables_of(model)
        table_ids = {id(table) for table in tables}
        self._dense = [p for p in model.parameters() if id(p) not in table_ids]
        own = model.parameter_groups()
        apart = {id(p) for group in own for p in group.parameters}
        groups: list[dict[str, Any]] = [
            {"params": [p for p in self._dense if id(p) not in apart]},
            {"params": learned, "weight_decay": 0.0},
            *(_settings(group, config) for group in own),
        ]
        # AdamW (Loshchilov & Hutter, ICLR 2019).
        dense = torch.optim.AdamW(
            [group for group in groups if group["params"]],
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            fused=True,
        )
        self._all: list[torch.optim.Optimizer] = [dense]
        if tables:
            self._all.append(RowAdam(tables, lr=config.learning_rate))

    def zero_grad(self) -> None:
        """Forget the gradients of the batch before."""
        for optimiser in self._all:
            optimiser.zero_grad(set_to_none=True)

    def step(self, *, max_norm: float) -> None:
        """Move the weights; dense gradients are clipped to *max_norm* together."""
        nn.utils.clip_grad_norm_(self._dense, max_norm=max_norm, foreach=True)
        for optimiser in self._all:
            optimiser.step()
