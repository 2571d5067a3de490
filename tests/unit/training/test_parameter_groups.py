"""Weights that a model wants stepped otherwise than the rest."""

import pytest
import torch

from contract.tasks import BinaryTask
from tests.rankers import SIZES
from training.config import OptimConfig, TrainConfig
from training.data.columns import encode_split
from training.data.schema import fit_schema
from training.data.simulator import prepare
from training.models.base import ModelConfig, ParameterGroup
from training.models.shared_bottom import SharedBottom
from training.trainer import fit


class _WithKnobs(SharedBottom):
    """Three weights that no score depends on, each stepped in its own way."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.plain, self.still, self.fast = (torch.nn.Parameter(torch.ones(())) for _ in range(3))
        self.slope = 0.0

    def penalty(self, _raw):
        return self.slope * (self.plain + self.still + self.fast)

    def parameter_groups(self):
        return [
            ParameterGroup(parameters=[self.still], has_decay=False),
            ParameterGroup(parameters=[self.fast], learning_rate_factor=10.0),
        ]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated")
    dataset = prepare(folder / "data", rows=600, seed=1)
    schema = fit_schema(dataset)
    splits = [encode_split(dataset, name, schema, folder / name) for name in ("train", "validation")]

    def run(*, slope, weight_decay):
        torch.manual_seed(0)
        model = _WithKnobs(schema, [BinaryTask(name="ctr")], ModelConfig(**SIZES))
        model.slope = slope
        optim = OptimConfig(learning_rate=1e-3, weight_decay=weight_decay, batch_requests=1_000)
        fit(model, *splits, TrainConfig(data="simulator", arch="shared_bottom", epochs=1, optim=optim))
        return {name: getattr(model, name).item() for name in ("plain", "still", "fast")}

    return run


def test_weights_without_decay_stay_where_they_are_when_nothing_moves_them(trained):
    moved = trained(slope=0.0, weight_decay=10.0)

    assert moved["still"] == 1.0
    assert moved["plain"] == pytest.approx(1 - 1e-3 * 10.0, abs=1e-5)


def test_a_learning_rate_factor_multiplies_the_step(trained):
    moved = trained(slope=1.0, weight_decay=0.0)

    assert 1.0 - moved["fast"] == pytest.approx(10 * (1.0 - moved["plain"]), rel=1e-3)
    assert moved["plain"] == moved["still"] < 1.0
