"""What every :class:`service.ports.ModelRuntime` promises; each adapter's test and the fake's inherit it."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from contract.arrays import GraphInputs
from service.errors import InferenceFailed
from tests.factories import HEADS, tiny_inputs, tiny_outputs


class ModelRuntimeSuite:
    """Subclasses give a fixture ``runtime`` that serves the tiny graph."""

    @pytest.mark.parametrize(("rows", "requests"), [(1, 1), (2, 1), (17, 3), (256, 3)])
    def test_every_head_has_one_float_a_candidate(self, runtime, rows, requests):
        outputs = runtime.run(tiny_inputs(rows, requests=requests))

        assert set(outputs) == set(HEADS)
        assert {(values.shape, values.dtype.name) for values in outputs.values()} == {((rows,), "float32")}

    def test_the_numbers_are_those_of_the_model(self, runtime):
        inputs = tiny_inputs(17, requests=3)

        outputs = runtime.run(inputs)

        for name, wanted in tiny_outputs(inputs).items():
            np.testing.assert_allclose(outputs[name], wanted, rtol=1e-5, atol=1e-6)

    def test_requests_scored_together_get_what_they_get_alone(self, runtime):
        parts = [tiny_inputs(rows, seed=rows) for rows in (1, 5, 3)]

        together = runtime.run(GraphInputs.merge(parts))
        alone = [runtime.run(part) for part in parts]

        for head in HEADS:
            np.testing.assert_allclose(together[head], np.concatenate([a[head] for a in alone]), rtol=1e-6)

    def test_it_may_be_run_from_several_threads_at_once(self, runtime):
        inputs = [tiny_inputs(50, seed=seed) for seed in range(16)]

        with ThreadPoolExecutor(4) as pool:
            outputs = list(pool.map(runtime.run, inputs))

        for given, got in zip(inputs, outputs, strict=True):
            np.testing.assert_allclose(got["ctr"], tiny_outputs(given)["ctr"], rtol=1e-5)

    def test_rows_that_break_the_graph_fail_alone(self, runtime):
        good = tiny_inputs(2)
        bad = GraphInputs(request=good.request, candidate=good.candidate, request_index=np.array([0, 7]))

        with pytest.raises(InferenceFailed):
            runtime.run(bad)

        assert runtime.run(good)["ctr"].shape == (2,)

    def test_a_closed_graph_says_so(self, runtime):
        runtime.close()
        runtime.close()

        with pytest.raises(InferenceFailed, match="closed"):
            runtime.run(tiny_inputs(2))
