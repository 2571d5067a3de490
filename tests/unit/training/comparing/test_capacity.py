"""Same capacity: widths are scaled until parameters agree."""

import pytest

from contract.features import Categorical, FeatureSchema, Numeric, Standard
from contract.tasks import BinaryTask
from training.comparing.capacity import TOLERANCE, dense_parameters, widened
from training.models.base import ModelConfig
from training.models.registry import build_model

SCHEMA = FeatureSchema(
    fields=(
        Categorical(name="item", side="candidate", dtype="int", table="item"),
        Numeric(name="price", side="candidate", scaling=Standard(mean=0, std=1)),
    ),
    vocabularies={"item": tuple(range(50))},
)
TASKS = (BinaryTask(name="a"), BinaryTask(name="b"))
CONFIG = ModelConfig(embedding_dim=4, hidden=(32, 16), tower_hidden=(8,))


def _count(arch):
    return lambda config: dense_parameters(build_model(arch, SCHEMA, TASKS, config))


def test_dense_parameters_leave_embedding_tables_out():
    """The table has 52 rows of 4; what is left is the bottom on 5 inputs and two towers."""
    bottom = (5 + 1) * 32 + (32 + 1) * 16
    towers = 2 * ((16 + 1) * 8 + 8 + 1)

    assert _count("shared_bottom")(CONFIG) == bottom + towers


@pytest.mark.parametrize("arch", ["shared_bottom", "mmoe", "ple", "single_task"])
@pytest.mark.parametrize("budget", [2_000, 20_000, 300_000])
def test_every_architecture_comes_within_the_tolerance_of_a_budget(arch, budget):
    found = _count(arch)(widened(_count(arch), CONFIG, budget))

    assert abs(found - budget) <= TOLERANCE * budget


def test_widths_keep_their_proportions_and_all_else_stays():
    wide = widened(_count("shared_bottom"), CONFIG, 20_000)

    first, second = wide.hidden
    assert abs(first - 2 * second) <= 1
    assert wide.model_copy(update={"hidden": CONFIG.hidden}) == CONFIG


def test_the_nearest_width_is_taken_from_either_side():
    exact = _count("shared_bottom")(CONFIG)

    for off in (-3, 0, 3):
        assert widened(_count("shared_bottom"), CONFIG, exact + off).hidden == CONFIG.hidden
