"""Scalings are fitted on the training split alone."""

from datetime import datetime

import numpy as np
import pyarrow as pa
import pytest

from contract.features import Piecewise, Quantile, Standard
from training.data.format import DatasetInfo, DatasetWriter, FieldDeclaration, LabelDeclaration, open_dataset
from training.data.schema import fit_schema


def _fitted(path, scaling, values):
    """Fit one candidate number; other splits hold values that must not be read."""
    info = DatasetInfo(
        name="numbers",
        fields=(FieldDeclaration(name="x", side="candidate", kind="numeric", dtype="float", scaling=scaling),),
        labels=(LabelDeclaration(name="ctr", kind="binary"),),
        default_formula="ctr",
    )
    with DatasetWriter(path, info) as writer:
        for split, x in {"train": values, "validation": [1e6, -1e6], "test": [1e6]}.items():
            row = {"request_id": split, "time": datetime(2026, 1, 1), "user_id": "u"}  # noqa: DTZ001
            lists = {"item_id": [str(i) for i in range(len(x))], "x": list(x), "ctr": [0.0] * len(x)}
            writer.write(split, pa.Table.from_pylist([row | lists], info.arrow_schema()))
    (field,) = fit_schema(open_dataset(path)).fields
    return field.scaling


def test_piecewise_edges_are_quantiles_of_the_rows_and_of_the_distinct_values(tmp_path):
    """Nearly all rows are 0, as capital gains are: quantiles of the rows alone would be one edge and the largest."""
    values = [0.0] * 1_000 + [float(x) for x in range(1, 63)]

    scaling = _fitted(tmp_path / "data", "piecewise", values)

    assert isinstance(scaling, Piecewise)
    assert (scaling.points[0], scaling.points[-1]) == (0.0, 62.0)
    assert len(scaling.points) >= 32
    assert max(np.diff(scaling.points)) <= 3
    assert set(scaling.points) <= set(values)


def test_a_number_of_few_values_has_an_edge_at_each_and_no_other(tmp_path):
    values = np.repeat([0.0, 1.0, 2.0, 6.0], [900, 60, 30, 10])

    assert _fitted(tmp_path / "data", "piecewise", values).points == (0.0, 1.0, 2.0, 6.0)


@pytest.mark.parametrize("scaling", ["piecewise", "quantile"])
def test_a_number_that_never_changes_is_standardised(scaling, tmp_path):
    assert _fitted(tmp_path / "data", scaling, [3.0] * 10) == Standard(mean=3.0, std=1.0)


@pytest.mark.parametrize(("scaling", "kind", "points"), [("piecewise", Piecewise, 32), ("quantile", Quantile, 64)])
def test_a_number_of_many_values_has_a_point_at_each_quantile(scaling, kind, points, tmp_path):
    fitted = _fitted(tmp_path / "data", scaling, np.random.default_rng(0).random(1_000))

    assert isinstance(fitted, kind)
    assert len(fitted.points) == points
