"""Our networks against an independent implementation, torch-rechub 0.9.0, with the same weights.

Compared is what it has right: the forward passes of shared-bottom, ESMM, AITM, MMoE and PLE. Its layers carry a batch
norm that the papers do not have; freshly made and in evaluation mode, with its epsilon at 0, that is the identity.
Left out are its losses: its AITM has no calibrator, and its ESMM learns from labels by position.
"""

import numpy as np
import pytest
import torch
from torch import nn

from contract.features import Categorical, FeatureSchema
from contract.tasks import BinaryTask
from training.export import random_inputs
from training.inputs import as_tensors
from training.models.base import ModelConfig
from training.models.registry import build_model

multi_task = pytest.importorskip(
    "torch_rechub.models.multi_task", reason="torch-rechub is not installed: see requirements/test.txt"
)
features = pytest.importorskip("torch_rechub.basic.features", reason="as above")

DIM, HIDDEN, TOWER = 3, (6, 5), (4,)
SCHEMA = FeatureSchema(
    fields=(
        Categorical(name="user", side="request", dtype="int", table="user"),
        Categorical(name="hour", side="request", dtype="int", table="hour"),
        Categorical(name="item", side="candidate", dtype="int", table="item"),
    ),
    vocabularies={"user": (1, 2, 3, 4), "hour": (1, 2), "item": (1, 2, 3, 4, 5)},
)
CTR, CVR, PAID = BinaryTask(name="ctr"), BinaryTask(name="cvr", given="ctr"), BinaryTask(name="paid", given="cvr")
BODY, TOP = {"dims": [*HIDDEN]}, {"dims": [*TOWER]}


def _ours(arch, *tasks, spread=0.7, **options):
    torch.manual_seed(0)
    config = ModelConfig(
        embedding_dim=DIM, hidden=HIDDEN, tower_hidden=TOWER, num_experts=3, dropout=0.0, options=options
    )
    model = build_model(arch, SCHEMA, tasks, config).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # far from any start, gates and attention among them
            parameter.normal_(std=spread)
    return model


def _rows():
    """Give the same rows twice: as our graph takes them, and repeated by column as theirs does."""
    inputs = as_tensors(random_inputs(SCHEMA, 3, 40, np.random.default_rng(0)))
    for ids, tables in ((inputs.request_ids, ("user", "hour")), (inputs.candidate_ids, ("item",))):
        for column, table in enumerate(tables):
            ids[:, column] %= SCHEMA.table_size(table)
    request_ids = inputs.request_ids[inputs.request_index]
    return inputs, {"user": request_ids[:, 0], "hour": request_ids[:, 1], "item": inputs.candidate_ids[:, 0]}


def _fields():
    return [features.SparseFeature(name, SCHEMA.table_size(name), embed_dim=DIM) for name in ("user", "hour", "item")]


def _neutral(theirs, ours):
    """Take the batch norms out, and our embeddings in."""
    theirs.eval()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.eps = 0.0
    start = 0
    for name in SCHEMA.tables():
        size = SCHEMA.table_size(name)
        theirs.embedding.embed_dict[name].weight.data = ours.features.embedding.weight.weight[start : start + size].data
        start += size
    return theirs


def _linears(module):
    return [layer for layer in module.modules() if isinstance(layer, nn.Linear)]


def _copy(theirs, weights):
    """Put our (weight, bias) pairs into their linear layers, in order."""
    for layer, (weight, bias) in zip(_linears(theirs), weights, strict=True):
        assert layer.weight.shape == weight.shape
        layer.weight.data, layer.bias.data = weight.data.clone(), bias.data.clone()


def _joined(first):
    """Give our factored layer as one over [u; c]."""
    return torch.cat([first.request.weight, first.candidate.weight], dim=1), first.request.bias


def _stacked(experts, position):
    """Give one of our stacked MLPs as plain layers."""
    weight, bias = _joined(experts.first)
    own = slice(position * experts.first_dim, (position + 1) * experts.first_dim)
    deeper = [(layer.weight_EIO[position].T, layer.bias_E1O[position, 0]) for layer in experts.deeper]
    return [(weight[own], bias[own]), *deeper]


def _plain(module):
    return [(layer.weight, layer.bias) for layer in _linears(module)]


def _probabilities(ours, inputs):
    with torch.no_grad():
        return torch.sigmoid(torch.cat(list(ours(inputs).values()), dim=1))


def _agree(got, wanted):
    assert wanted.std(dim=0).min() > 0.01, "a comparison of constants says nothing"
    torch.testing.assert_close(got, wanted, atol=2e-6, rtol=1e-5)


def test_shared_bottom():
    ours, (inputs, columns) = _ours("shared_bottom", CTR, BinaryTask(name="like")), _rows()
    theirs = multi_task.SharedBottom(_fields(), ["classification"] * 2, BODY, [TOP, TOP])
    _neutral(theirs, ours)
    _copy(theirs.bottom_mlp, [_joined(ours.first), *_plain(ours.rest)])
    for tower, task in zip(theirs.towers, ours.tasks, strict=True):
        _copy(tower, _plain(ours.towers[task]))

    _agree(_probabilities(ours, inputs), theirs(columns))


def test_mmoe():
    ours, (inputs, columns) = _ours("mmoe", CTR, BinaryTask(name="like")), _rows()
    theirs = multi_task.MMOE(_fields(), ["classification"] * 2, 3, BODY, [TOP, TOP])
    _neutral(theirs, ours)
    for position, expert in enumerate(theirs.experts):
        _copy(expert, _stacked(ours.experts, position))
    weight, bias = _joined(ours.gate)
    for position, (gate, tower) in enumerate(zip(theirs.gates, theirs.towers, strict=True)):
        own = slice(position * 3, (position + 1) * 3)
        _copy(gate, [(weight[own], bias[own])])
        _copy(tower, _plain(ours.towers[ours.tasks[position]]))

    _agree(_probabilities(ours, inputs), theirs(columns))


def test_esmm_and_its_joint_probability():
    ours, (inputs, columns) = _ours("esmm", CTR, CVR), _rows()
    fields = _fields()
    whole = {"dims": [*HIDDEN, *TOWER]}
    theirs = multi_task.ESMM(fields[:2], fields[2:], cvr_params=whole, ctr_params=whole)
    _neutral(theirs, ours)
    for position, (mine, other) in enumerate((("ctr", theirs.tower_ctr), ("cvr", theirs.tower_cvr))):
        _copy(other, [*_stacked(ours.networks.bodies, position), *_plain(ours.networks.towers[mine])])

    ctr, cvr = _probabilities(ours, inputs).unbind(dim=1)

    _agree(torch.stack([cvr, ctr, ctr * cvr], dim=1), theirs(columns))


def test_aitm_over_three_tasks():
    ours, (inputs, columns) = _ours("aitm", CTR, CVR, PAID), _rows()
    theirs = multi_task.AITM(_fields(), 3, BODY, [TOP] * 3)
    _neutral(theirs, ours)
    for position, (bottom, tower) in enumerate(zip(theirs.bottoms, theirs.towers, strict=True)):
        _copy(bottom, _stacked(ours.bottoms, position))
        _copy(tower, _plain(ours.towers[ours.tasks[position]]))
    for transfer, gate, attention in zip(ours.transfers, theirs.info_gates, theirs.aits, strict=True):
        _copy(gate, _plain(transfer.pass_on))
        for mine, other in (("query", "q_layer"), ("key", "k_layer"), ("value", "v_layer")):
            getattr(attention, other).weight.data = getattr(transfer, mine).weight.data

    _agree(_probabilities(ours, inputs), theirs(columns))


def _grouped(experts, group, member):
    """Give one MLP of a later level as plain layers."""
    own = slice(member * experts.first_dim, (member + 1) * experts.first_dim)
    first = experts.first.weight_EIO[group][:, own].T, experts.first.bias_E1O[group, 0, own]
    position = group * experts.per_group + member
    return [first, *((layer.weight_EIO[position].T, layer.bias_E1O[position, 0]) for layer in experts.deeper)]


def test_ple_with_a_shared_gate_over_all_experts_of_the_level():
    ours = _ours("ple", CTR, BinaryTask(name="like"), spread=1.1, levels=2, task_experts=2, shared_experts=1)
    inputs, columns = _rows()
    theirs = multi_task.PLE(_fields(), ["classification"] * 2, 2, 2, 1, BODY, [TOP, TOP])
    _neutral(theirs, ours)
    (first, later), (mine, deeper) = theirs.cgc_layers, (ours.first, ours.later[0])
    for position, expert in enumerate(first.experts_specific):
        _copy(expert, _stacked(mine.own, position))
        _copy(later.experts_specific[position], _grouped(deeper.own, *divmod(position, 2)))
    _copy(first.experts_shared[0], _stacked(mine.shared, 0))
    _copy(later.experts_shared[0], _grouped(deeper.shared, 0, 0))
    weight, bias = _joined(mine.task_gates)
    for task in range(2):
        _copy(first.gates_specific[task], [(weight[3 * task : 3 * task + 3], bias[3 * task : 3 * task + 3])])
        gate = deeper.task_gates
        _copy(later.gates_specific[task], [(gate.weight_EIO[task].T, gate.bias_E1O[task, 0])])
        _copy(theirs.towers[task], _plain(ours.towers[ours.tasks[task]]))
    _copy(first.gate_shared, [_joined(mine.shared_gate)])

    _agree(_probabilities(ours, inputs), theirs(columns))
