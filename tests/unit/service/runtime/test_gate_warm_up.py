"""What the gate finds out by scoring the golden rows in other numbers."""

from dataclasses import replace

import numpy as np
import pytest

from contract.encoding import Encoder
from service.errors import InferenceFailed, ModelRejected
from service.runtime.gate import WARM_UP_ROWS, check_golden
from tests.factories import publish_tiny, tiny_outputs


class Graph:
    """The tiny graph with a fault that shows on some numbers of rows only."""

    def __init__(self, fault=lambda outputs, rows: outputs):
        self.fault = fault
        self.sizes = []

    def run(self, inputs):
        self.sizes.append(len(inputs.request_index))
        return self.fault(tiny_outputs(inputs), len(inputs.request_index))

    def close(self):
        """Nothing to free."""


@pytest.fixture
def bundle(tmp_path):
    return publish_tiny(tmp_path)


def check(bundle, graph, golden=None):
    check_golden(bundle, golden or bundle.golden(), Encoder(bundle.manifest.features), graph)


def test_a_graph_is_warm_at_one_at_a_few_and_at_many_rows(bundle):
    graph = Graph()

    check(bundle, graph)

    assert graph.sizes == [5, *WARM_UP_ROWS]


def test_a_graph_that_drops_the_only_row_is_refused(bundle):
    def squeezed(outputs, rows):
        return {name: values.squeeze() for name, values in outputs.items()}

    with pytest.raises(ModelRejected, match="1 golden rows give another 'ctr'"):
        check(bundle, Graph(squeezed))


def test_a_graph_that_knows_the_size_of_its_export_only_is_refused(bundle):
    def frozen(outputs, rows):
        if rows != 5:
            raise InferenceFailed("expected 5 rows")
        return outputs

    with pytest.raises(InferenceFailed):
        check(bundle, Graph(frozen))


def test_a_graph_whose_answer_for_a_row_depends_on_its_neighbours_is_refused(bundle):
    golden = bundle.golden()
    mean = golden.heads["log_duration"].mean()

    def centred(outputs, rows):
        return {**outputs, "log_duration": outputs["log_duration"] - outputs["log_duration"].mean()}

    leaky = replace(golden, heads={**golden.heads, "log_duration": golden.heads["log_duration"] - mean})

    with pytest.raises(ModelRejected, match="1 golden rows give another 'log_duration'"):
        check(bundle, Graph(centred), leaky)


def test_infinite_answers_are_refused_even_when_training_gave_them_too(bundle):
    golden = bundle.golden()
    endless = np.full_like(golden.heads["duration_seconds"], np.inf)

    with pytest.raises(ModelRejected, match="'duration_seconds' is not finite"):
        check(
            bundle,
            Graph(lambda outputs, rows: {**outputs, "duration_seconds": np.full(rows, np.inf, np.float32)}),
            replace(golden, heads={**golden.heads, "duration_seconds": endless}),
        )
