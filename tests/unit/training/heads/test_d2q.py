"""D2Q: quantiles within groups of like length, and back."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from contract.durations import D2q
from contract.encoding import Encoder
from contract.features import FeatureSchema, Numeric, Piecewise, Standard
from contract.tasks import DurationTask
from tests.durations import sample_of, schema_with
from training.errors import InvalidOption
from training.export import random_inputs
from training.heads.base import LabelSample
from training.heads.d2q import POINTS, quantile_of
from training.heads.registry import fit_task, head_of
from training.inputs import as_tensors

RNG = np.random.default_rng(0)
LENGTH = RNG.normal(size=3_000).astype(np.float32)
SECONDS = np.exp(2.0 + LENGTH + 0.5 * RNG.normal(size=3_000)).astype(np.float32)


def _head(**options):
    options = {"by": "length", "groups": 5} | options
    task = DurationTask(name="duration", objective=D2q(**options))
    return head_of(fit_task(task, sample_of(SECONDS, LENGTH)))


def _inputs(lengths):
    inputs = as_tensors(random_inputs(schema_with("length"), 1, len(lengths), RNG))
    inputs.candidate_dense[:, 0] = torch.tensor(lengths)
    return inputs


def _quantile_head(seconds):
    return head_of(fit_task(DurationTask(name="duration", objective=D2q()), sample_of(seconds)))


def test_groups_hold_equally_many_rows_and_a_length_keeps_its_group_when_served():
    head = _head()

    group = head.group(torch.zeros(len(LENGTH), 1), _inputs(LENGTH)).numpy()

    np.testing.assert_allclose(np.bincount(group), 600, atol=1)
    assert (np.diff(group[np.argsort(LENGTH)]) >= 0).all()


def test_the_quantile_of_a_row_is_its_rank_among_rows_of_like_length():
    head, inputs = _head(), _inputs(LENGTH)
    raw = torch.zeros(len(LENGTH), 1)
    group = head.group(raw, inputs)

    got = quantile_of(torch.tensor(SECONDS), torch.tensor(head.objective.seconds)[group]).numpy()

    for each in range(5):
        rows = group.numpy() == each
        np.testing.assert_allclose(got[rows], (stats.rankdata(SECONDS[rows]) - 0.5) / rows.sum(), atol=0.01)


def test_a_quantile_and_back_gives_the_seconds_again():
    head, inputs = _head(), _inputs(LENGTH)
    group = head.group(torch.zeros(len(LENGTH), 1), inputs)
    quantile = quantile_of(torch.tensor(SECONDS), torch.tensor(head.objective.seconds)[group])

    again = head.seconds((quantile - 0.5).unsqueeze(1), inputs)

    np.testing.assert_allclose(again, SECONDS, rtol=1e-3)


def test_the_same_output_means_longer_for_longer_items():
    seconds = _head().seconds(torch.zeros(3, 1), _inputs([-2.0, 0.0, 2.0]))

    assert (np.diff(seconds) > 0).all()


def test_the_inverse_table_is_interpolated_as_numpy_does_and_clipped_at_its_ends():
    head = _quantile_head(SECONDS)
    raw = torch.linspace(-1.0, 1.0, 333).unsqueeze(1)

    got = head.seconds(raw, None)

    table = np.array(head.objective.seconds[0])
    np.testing.assert_allclose(got, np.interp(0.5 + raw[:, 0], np.linspace(0, 1, POINTS), table), rtol=1e-4)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([0.0, 1.0, 2.0, 5.0, 9.0]), min_size=1, max_size=40))
def test_ties_share_the_middle_of_their_step(seconds):
    """However many rows are 0 s: their quantile is half their share, so that the mean quantile is one half."""
    head = _quantile_head(np.array(seconds))
    y = torch.tensor(seconds)

    quantile = quantile_of(y, torch.tensor(head.objective.seconds).expand(len(y), -1))

    below = np.array([np.mean(np.array(seconds) < each) + np.mean(np.array(seconds) == each) / 2 for each in seconds])
    np.testing.assert_allclose(quantile, below, atol=0.5 / len(seconds) + 0.02)
    assert quantile.mean().item() == pytest.approx(0.5, abs=0.02)


def test_equal_lengths_make_one_group():
    task = DurationTask(name="duration", objective=D2q(by="length", groups=10))
    fitted = fit_task(task, sample_of(SECONDS, np.full(len(SECONDS), 3.0)))

    assert len(fitted.objective.seconds) == 1


def test_a_length_in_bins_makes_the_groups_that_it_makes_as_one_number():
    length = Numeric(name="length", side="candidate", scaling=Piecewise(points=(-9.0, -1.0, -0.5, 0.0, 1.0, 9.0)))
    price = Numeric(name="price", side="candidate", scaling=Standard(mean=0.0, std=1.0))
    schema = FeatureSchema(fields=(price, length))
    dense = Encoder(schema).encode("candidate", {"price": -LENGTH, "length": LENGTH}, len(LENGTH)).dense
    sample = LabelSample(labels=SECONDS, candidate_dense=dense, schema=schema)
    head = head_of(fit_task(DurationTask(name="duration", objective=D2q(by="length", groups=5)), sample))
    inputs = as_tensors(random_inputs(schema, 1, len(LENGTH), RNG))
    inputs.candidate_dense[:] = torch.from_numpy(dense)

    group = head.group(torch.zeros(len(LENGTH), 1), inputs).numpy()

    plain = _head().group(torch.zeros(len(LENGTH), 1), _inputs(LENGTH)).numpy()
    np.testing.assert_array_equal(group, plain)


@pytest.mark.parametrize(("names", "mend"), [(("price", "age"), "price, age"), ((), "leave it out")])
def test_a_field_that_is_no_candidate_number_is_refused_with_those_that_are(names, mend):
    with pytest.raises(InvalidOption, match=mend):
        fit_task(DurationTask(name="duration", objective=D2q(by="length")), sample_of(SECONDS, names=names))


def test_a_number_of_the_request_makes_no_groups_of_candidates():
    with pytest.raises(InvalidOption, match="hour"):
        fit_task(DurationTask(name="duration", objective=D2q(by="hour")), sample_of(SECONDS))
