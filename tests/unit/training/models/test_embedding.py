"""What becomes of the fields of both sides: pooling, attention, vectors, shared tables."""

import numpy as np
import pytest
import torch

from contract.features import (
    SIDES,
    Categorical,
    FeatureSchema,
    Hashed,
    Numeric,
    Sequence,
    Standard,
    Vector,
    dense_width,
    id_width,
)
from contract.tasks import BinaryTask
from tests.every_kind import every_kind_schema
from training.export import random_inputs
from training.inputs import TensorInputs, as_tensors, unfactored
from training.models.attention import LocalActivation
from training.models.base import ModelConfig
from training.models.embedding import FeatureEmbedding
from training.models.registry import build_model

D = 3
WORDS = {"item": ("a", "b", "c", "d")}
ITEM = Categorical(name="item", side="candidate", dtype="string", table="item")


def _sequence(side="request", pooling="mean", *, name="history", table="item", length=3):
    return Sequence(
        name=name,
        side=side,
        dtype="string",
        table=table,
        max_length=length,
        pooling=pooling,
        target=table if pooling == "attention" else None,
    )


def _schema(*fields):
    return FeatureSchema(fields=fields, vocabularies=WORDS)


def _inputs(*, request=None, candidate=None, index=(0, 0, 1), request_dense=None, candidate_dense=None):
    index = torch.tensor(index)

    def ids(rows, count):
        return torch.zeros((count, 0), dtype=torch.int64) if rows is None else torch.tensor(rows)

    def dense(rows, count):
        return torch.zeros((count, 0)) if rows is None else torch.tensor(rows)

    requests = int(index.max()) + 1
    return TensorInputs(
        request_ids=ids(request, requests),
        request_dense=dense(request_dense, requests),
        candidate_ids=ids(candidate, len(index)),
        candidate_dense=dense(candidate_dense, len(index)),
        request_index=index,
    )


@pytest.mark.parametrize("side", ["request", "candidate"])
@pytest.mark.parametrize("pooling", ["mean", "sum"])
def test_a_sequence_becomes_the_mean_or_the_sum_of_its_given_values(side, pooling):
    embedding = FeatureEmbedding(_schema(_sequence(side, pooling)), D)
    rows = [[2, 0, 3], [0, 0, 0], [4, 4, 1]]
    inputs = _inputs(**{side: rows}, index=(0, 1, 2))
    table = embedding.weight.weight.detach().numpy()

    got = embedding(inputs)[0 if side == "request" else 1].detach().numpy()

    share = {"mean": (2, 1, 3), "sum": (1, 1, 1)}[pooling]
    wanted = [(table[2] + table[3]) / share[0], np.zeros(D), (2 * table[4] + table[1]) / share[2]]
    np.testing.assert_allclose(got, wanted, atol=1e-6)


def _din(q_D, k_LD, unit):
    """The paper's formula, pair by pair: a MLP over [q, k, q - k, q * k], its output the weight of k."""
    first, bias = unit.first.weight.detach().numpy(), unit.first.bias.detach().numpy()
    last, constant = unit.weigh.weight.detach().numpy()[0], unit.weigh.bias.item()
    slope, out_D = unit.activation.weight.item(), np.zeros_like(q_D)
    for k_D in k_LD:
        h = first @ np.concatenate([q_D, k_D, q_D - k_D, q_D * k_D]) + bias
        out_D = out_D + (last @ np.where(h > 0, h, slope * h) + constant) * k_D
    return out_D


@pytest.mark.parametrize("side", ["request", "candidate"])
def test_attention_is_din_over_the_given_values_and_stands_in_the_candidate_vector(side):
    torch.manual_seed(0)
    embedding = FeatureEmbedding(_schema(_sequence(side, "attention"), ITEM), D, attention_hidden=5)
    histories = [[2, 3, 0], [5, 1, 2]] if side == "request" else [[2, 3, 0], [5, 1, 2], [0, 0, 4]]
    items, index = [3, 2, 4], (0, 0, 1)
    if side == "request":
        inputs = _inputs(request=histories, candidate=[[item] for item in items], index=index)
    else:
        inputs = _inputs(candidate=[[*own, item] for own, item in zip(histories, items, strict=True)], index=index)
    table = embedding.weight.weight.detach().numpy().astype(np.float64)

    u, c = embedding(inputs)

    assert (u.shape[1], c.shape[1], embedding.candidate_dim) == (0, 2 * D, 2 * D)
    for n, item in enumerate(items):
        given = [row for row in histories[index[n] if side == "request" else n] if row != 0]
        np.testing.assert_allclose(c[n, :D].detach(), table[item], atol=1e-6)
        np.testing.assert_allclose(
            c[n, D:].detach(), _din(table[item], table[given], embedding.attention[0]), atol=1e-6
        )


def test_the_attention_weights_need_not_sum_to_one():
    """DIN section 4.3 gives softmax up, which DeepCTR's and torch-rechub's users have to know to switch off."""
    unit = LocalActivation(D, 4)
    q, k, given = torch.randn(1, D), torch.randn(1, 2, D), torch.ones(1, 2)

    once, twice = unit(q, k[:, :1], given[:, :1], None), unit(q, k[:, [0, 0]], given, None)

    torch.testing.assert_close(twice, 2 * once)


def test_a_candidate_whose_user_has_no_history_reads_zeros_and_learns_nothing_from_it():
    embedding = FeatureEmbedding(_schema(_sequence("request", "attention"), ITEM), D)
    inputs = _inputs(request=[[0, 0, 0]], candidate=[[2], [3]], index=(0, 0))

    c = embedding(inputs)[1]
    c[:, D:].square().sum().backward()

    assert torch.count_nonzero(c[:, D:]) == 0
    assert all(torch.count_nonzero(p.grad) == 0 for p in embedding.attention.parameters())


def test_padding_changes_nothing_even_where_its_row_of_the_table_does():
    embedding = FeatureEmbedding(_schema(_sequence("request", "attention"), ITEM), D)
    inputs = _inputs(request=[[2, 3, 0]], candidate=[[2], [3]], index=(0, 0))
    before = embedding(inputs)[1].detach().clone()

    with torch.no_grad():
        embedding.weight.weight[0] = 100.0

    torch.testing.assert_close(embedding(inputs)[1], before)


def test_what_one_user_has_seen_reaches_no_candidate_of_another():
    embedding = FeatureEmbedding(_schema(_sequence("request", "attention"), ITEM), D)
    before = embedding(_inputs(request=[[2, 3, 0], [4, 0, 0]], candidate=[[2], [2], [2]]))[1]
    after = embedding(_inputs(request=[[2, 3, 0], [5, 5, 5]], candidate=[[2], [2], [2]]))[1]

    torch.testing.assert_close(before[:2], after[:2])
    assert not torch.allclose(before[2], after[2])


def test_attention_teaches_the_table_its_own_layers_and_both_sides_of_a_pair():
    torch.manual_seed(0)
    embedding = FeatureEmbedding(_schema(_sequence("request", "attention"), ITEM), D)
    inputs = _inputs(request=[[2, 3, 0]], candidate=[[4]], index=(0,))

    embedding(inputs)[1][:, D:].sum().backward()

    touched = embedding.weight.weight.grad.to_dense().abs().sum(dim=1) > 0
    assert touched.tolist() == [False, False, True, True, True, False]  # history twice, candidate once
    assert all(torch.count_nonzero(p.grad) > 0 for p in embedding.attention.parameters())


def test_the_parameters_of_attention_are_as_the_paper_counts_them():
    dim, hidden = 8, 36
    unit = LocalActivation(dim, hidden)

    assert sum(p.numel() for p in unit.parameters()) == 4 * dim * hidden + hidden + hidden + 1 + 1


def test_requests_computed_once_equal_requests_repeated_for_each_candidate():
    torch.manual_seed(0)
    schema = every_kind_schema()
    embedding = FeatureEmbedding(schema, D)
    inputs = as_tensors(random_inputs(schema, 3, 9, np.random.default_rng(0)))

    u, c = embedding(inputs)
    repeated_u, repeated_c = embedding(unfactored(inputs))

    torch.testing.assert_close(u[inputs.request_index], repeated_u)
    torch.testing.assert_close(c, repeated_c)


def test_the_widths_are_those_of_the_vectors():
    schema = every_kind_schema()
    embedding = FeatureEmbedding(schema, D)

    u, c = embedding(as_tensors(random_inputs(schema, 2, 5, np.random.default_rng(0))))

    assert u.shape == (2, embedding.request_dim)
    assert c.shape == (5, embedding.candidate_dim)
    assert embedding.request_dim == D + 2  # `viewed`, `taste`
    assert embedding.candidate_dim == 3 * D + 3 + 1 + 2 + 3 * D  # ids, `length`, `price`, `picture`, attentions


def _moved_with(field, schema):
    """Give the columns of both sides' vectors that change with one field's columns of the inputs."""
    is_id = isinstance(field, Categorical | Hashed | Sequence)
    packed, width, kind = (schema.ids_on, id_width, "ids") if is_id else (schema.dense_on, dense_width, "dense")
    before_it = packed(field.side)[: packed(field.side).index(field)]
    start = sum(width(each) for each in before_it)
    torch.manual_seed(0)
    embedding = FeatureEmbedding(schema, D)
    inputs = as_tensors(random_inputs(schema, 2, 5, np.random.default_rng(0)))
    inputs.request_ids[:], inputs.candidate_ids[:] = 2, 2
    before = embedding(inputs)
    getattr(inputs, f"{field.side}_{kind}")[:, start : start + width(field)] += 1
    return [set((a != b).any(dim=0).nonzero()[:, 0].tolist()) for a, b in zip(before, embedding(inputs), strict=True)]


@pytest.mark.parametrize("field", every_kind_schema().fields, ids=lambda field: field.name)
def test_the_span_of_a_field_is_the_columns_that_change_with_it(field):
    schema = every_kind_schema()
    embedding = FeatureEmbedding(schema, D)
    # What is held against a field moves with it too.
    held = [each.name for each in schema.fields if isinstance(each, Sequence) and each.target == field.name]

    moved = _moved_with(field, schema)

    for side, columns in zip(SIDES, moved, strict=True):
        spans = embedding.spans(side)
        named = [spans[name] for name in (field.name, *held) if name in spans]
        assert columns == {column for span in named for column in range(span.start, span.stop)}


def test_the_spans_of_a_side_cover_its_vector_in_order_and_without_gaps():
    embedding = FeatureEmbedding(every_kind_schema(), D)

    for side, width in zip(SIDES, (embedding.request_dim, embedding.candidate_dim), strict=True):
        columns = [column for span in embedding.spans(side).values() for column in range(span.start, span.stop)]
        assert columns == list(range(width))


def test_a_side_without_fields_has_no_spans():
    assert FeatureEmbedding(_schema(ITEM), D).spans("request") == {}
    assert FeatureEmbedding(_schema(ITEM), D).spans("candidate") == {"item": slice(0, D)}


def test_a_vector_is_read_as_it_is_or_through_its_own_linear_layer():
    taste = Vector(name="taste", side="request", dim=2)
    items, picture = Vector(name="items", side="candidate", dim=2), Vector(name="p", side="candidate", dim=3, project=2)
    price = Numeric(name="price", side="candidate", scaling=Standard(mean=0, std=1))
    embedding = FeatureEmbedding(_schema(taste, picture, items, price), D)
    dense = [[9.0, 1.0, 2.0, 3.0, 7.0, 8.0], [9.0, 0.0, 0.0, 0.0, 7.0, 8.0]]

    u, c = embedding(_inputs(request_dense=[[5.0, 6.0]], candidate_dense=dense, index=(0, 0)))

    weight = embedding.candidate.dense.readers[0].weight.detach().numpy()
    assert u.tolist() == [[5.0, 6.0]]
    np.testing.assert_allclose(c[0].detach(), [9.0, *(weight @ [1.0, 2.0, 3.0]), 7.0, 8.0], atol=1e-6)
    assert c[1].tolist() == [9.0, 0.0, 0.0, 7.0, 8.0]  # a missing vector stays zeros behind the layer too


def test_fields_of_one_table_read_and_teach_the_same_vectors():
    fields = (_sequence("request", "sum"), _sequence("candidate", "sum", name="similar"), ITEM)
    embedding = FeatureEmbedding(_schema(*fields), D)
    inputs = _inputs(request=[[2, 0, 0]], candidate=[[2, 0, 0, 2]], index=(0,))

    u, c = embedding(inputs)
    (u.sum() + c.sum()).backward()

    torch.testing.assert_close(u[0], c[0, :D])
    torch.testing.assert_close(c[0, :D], c[0, D:])
    assert embedding.weight.weight.grad[2].tolist() == [3.0] * D


def test_attention_and_projections_are_shared_by_the_tasks_and_their_size_is_an_option():
    tasks = (BinaryTask(name="a"), BinaryTask(name="b"))
    config = ModelConfig(embedding_dim=D, hidden=(4,), tower_hidden=(), attention_hidden=7)
    model = build_model("shared_bottom", every_kind_schema(), tasks, config)
    shared = {id(parameter) for parameter in model.shared_parameters()}
    embedding = model.features.embedding

    own = [*embedding.attention.parameters(), *embedding.candidate.dense.readers.parameters()]

    assert embedding.attention[0].first.weight.shape == (7, 4 * D)
    assert all(id(parameter) in shared for parameter in own)
