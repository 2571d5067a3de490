"""Where each field stands in the vector of its side: to mask whole fields, to squeeze them, to pick some."""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn

from contract.features import Categorical, FeatureSchema, Side, id_width
from training.errors import InvalidOption

__all__ = ["FieldLayout", "FieldPicker", "domain_field"]


class FieldLayout(nn.Module):
    """The fields of one side: D columns for an id field, one for a number, ids first.

    Args:
        schema: Has the fields.
        side: Which side; X stands for its rows, V for its width.
        dim: Width D of an id field's vector.
    """

    field_of_column: Tensor

    def __init__(self, schema: FeatureSchema, side: Side, dim: int) -> None:
        super().__init__()
        ids, numbers = schema.ids_on(side), schema.numbers_on(side)
        self.names = tuple(field.name for field in (*ids, *numbers))
        self.num_ids, self.dim = len(ids), dim
        columns = [index for index, name in enumerate(self.names) for _ in range(dim if index < len(ids) else 1)]
        self.register_buffer("field_of_column", torch.tensor(columns, dtype=torch.int64), persistent=False)

    def expand(self, mask_F: Tensor) -> Tensor:
        """Repeat each field's value for each of its columns, ``[…, F] → […, V]``."""
        return mask_F.index_select(-1, self.field_of_column)

    def squeeze(self, x_XV: Tensor) -> Tensor:
        """Give the mean over each field's columns, ``[X, F]``."""
        if self.num_ids == 0:
            return x_XV
        ids_XV, numbers_XM = x_XV[:, : self.num_ids * self.dim], x_XV[:, self.num_ids * self.dim :]
        means_XI = ids_XV.reshape(-1, self.num_ids, self.dim).mean(dim=2)
        return means_XI if self.num_ids == len(self.names) else torch.cat([means_XI, numbers_XM], dim=1)

    def columns(self, names: Collection[str]) -> list[int]:
        """Give the columns of some fields; those that stand on the other side have none here."""
        return [column for column, field in enumerate(self.field_of_column.tolist()) if self.names[field] in names]


class FieldPicker(nn.Module):
    """Some columns of one side's vector.

    Args:
        columns: Which; may be empty.
    """

    chosen: Tensor

    def __init__(self, columns: Sequence[int]) -> None:
        super().__init__()
        self.width = len(columns)
        self.register_buffer("chosen", torch.tensor(columns, dtype=torch.int64), persistent=False)

    def beside(self, x_XV: Tensor, other_XO: Tensor) -> Tensor:
        """Give the picked columns of x with *other* behind them."""
        if self.width == 0:
            return other_XO
        return torch.cat([x_XV.index_select(1, self.chosen), other_XO], dim=1)


def domain_field(schema: FeatureSchema, name: str, *, most_values: int) -> tuple[int, int]:
    """Find the request field that says which domain a request belongs to.

    Args:
        schema: Has the field.
        name: Of a categorical request field.
        most_values: That its vocabulary may have.

    Returns:
        Its column in the request's ids, and the size V of its vocabulary; ids are 0 to V + 1.

    Raises:
        InvalidOption: When there is no such field, or it has too many values.
    """
    column, known = 0, []
    for field in schema.ids_on("request"):
        if isinstance(field, Categorical) and field.name == name:
            values = len(schema.vocabularies[field.table])
            if values > most_values:
                fix = f"every domain is computed for every candidate; take a field of {most_values} values or fewer"
                raise InvalidOption(f"domain {name!r} has {values:,} values", fix=fix)
            return column, values
        column += id_width(field)
        known += [field.name] if isinstance(field, Categorical) else []
    raise InvalidOption(
        f"domain {name!r} is no categorical request field", fix=f"known: {', '.join(known) or 'there is none'}"
    )
