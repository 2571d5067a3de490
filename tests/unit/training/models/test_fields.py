"""Whole fields in the vector of a side, of whatever kind and width."""

import pytest
import torch

from contract.features import SIDES
from tests.every_kind import every_kind_schema
from tests.small_models import small_schema
from training.models.fields import FieldLayout, FieldPicker
from training.models.layers import Features


@pytest.mark.parametrize("schema", [small_schema(), every_kind_schema()])
@pytest.mark.parametrize("side", SIDES)
def test_a_mask_reaches_every_column_of_its_field_and_no_other(schema, side):
    spans = Features(schema, 4).embedding.spans(side)
    layout = FieldLayout(spans)

    for position, span in enumerate(spans.values()):
        mask = torch.zeros(len(spans))
        mask[position] = 1.0
        wanted = torch.zeros(max(each.stop for each in spans.values()))
        wanted[span] = 1.0

        assert torch.equal(layout.expand(mask), wanted)


@pytest.mark.parametrize("schema", [small_schema(), every_kind_schema()])
@pytest.mark.parametrize("side", SIDES)
def test_a_field_is_squeezed_to_the_mean_of_its_columns(schema, side):
    spans = Features(schema, 4).embedding.spans(side)
    x = torch.randn(5, max(each.stop for each in spans.values()))

    wanted = torch.stack([x[:, span].mean(dim=1) for span in spans.values()], dim=1)

    torch.testing.assert_close(FieldLayout(spans).squeeze(x), wanted)


def test_a_side_without_fields_is_squeezed_to_nothing():
    assert FieldLayout({}).squeeze(torch.zeros(1, 0)).shape == (1, 0)


def test_picked_fields_stand_in_front_and_fields_of_the_other_side_add_nothing():
    spans = Features(small_schema(), 4).embedding.spans("candidate")
    x, other = torch.randn(3, 9), torch.randn(3, 2)

    picked = FieldPicker(spans, ("topic", "price", "user")).beside(x, other)

    assert torch.equal(picked, torch.cat([x[:, 4:8], x[:, 8:], other], dim=1))
    assert FieldPicker(spans, ()).beside(x, other) is other
