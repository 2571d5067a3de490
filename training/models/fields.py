"""The fields in the vector of a side: to mask them whole, to squeeze each to a number, to pick some."""

from collections.abc import Collection, Mapping
from itertools import groupby

import torch
from torch import Tensor, nn

from contract.features import Categorical, FeatureSchema, id_width
from training.errors import InvalidOption

__all__ = ["FieldLayout", "FieldPicker", "domain_field"]


class FieldLayout(nn.Module):
    """Where the F fields of one side stand in its vector.

    Args:
        spans: Columns of each field, in their order; see
            :meth:`training.models.embedding.FeatureEmbedding.spans`. X stands for the side's rows, V for its width.
    """

    field_of_column: Tensor

    def __init__(self, spans: Mapping[str, slice]) -> None:
        super().__init__()
        self.names = tuple(spans)
        widths = [span.stop - span.start for span in spans.values()]
        self.runs = [(width, len(list(fields))) for width, fields in groupby(widths)]
        columns = [field for field, width in enumerate(widths) for _ in range(width)]
        self.register_buffer("field_of_column", torch.tensor(columns, dtype=torch.int64), persistent=False)

    def expand(self, mask_F: Tensor) -> Tensor:
        """Repeat each field's value for each of its columns, ``[…, F] → […, V]``."""
        return mask_F.index_select(-1, self.field_of_column)

    def squeeze(self, x_XV: Tensor) -> Tensor:
        """Give the mean over each field's columns, ``[X, F]``."""
        pieces = torch.split(x_XV, [width * count for width, count in self.runs], dim=1)
        means = [
            piece if width == 1 else piece.reshape(-1, count, width).mean(dim=2)
            for piece, (width, count) in zip(pieces, self.runs, strict=True)
        ]
        return torch.cat(means, dim=1) if means else x_XV


class FieldPicker(nn.Module):
    """The columns of some fields of one side.

    Args:
        spans: Columns of each field of the side.
        names: Of the chosen fields; those that stand on the other side have no columns here.
    """

    chosen: Tensor

    def __init__(self, spans: Mapping[str, slice], names: Collection[str]) -> None:
        super().__init__()
        columns = [column for name, span in spans.items() if name in names for column in range(span.start, span.stop)]
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
