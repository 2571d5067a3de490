import pytest

from contract.manifest import TensorSpec
from service.errors import ModelRejected
from service.runtime.onnx import OnnxRuntime
from tests.factories import tiny_graph, tiny_manifest
from tests.fakes import FakeRuntime
from tests.suites.model_runtime import ModelRuntimeSuite


def _open(folder, graph, manifest=None):
    path = folder / "model.onnx"
    path.write_bytes(graph)
    return OnnxRuntime.open(path, manifest or tiny_manifest(), threads=1)


class TestOnnxRuntime(ModelRuntimeSuite):
    @pytest.fixture
    def runtime(self, tmp_path):
        return _open(tmp_path, tiny_graph())


class TestFakeRuntime(ModelRuntimeSuite):
    @pytest.fixture
    def runtime(self):
        return FakeRuntime()


def test_a_file_that_is_no_graph_is_refused(tmp_path):
    with pytest.raises(ModelRejected, match="no graph that can run"):
        _open(tmp_path, b"not a graph")


def test_a_graph_without_a_promised_output_is_refused(tmp_path):
    with pytest.raises(ModelRejected, match=r"outputs are .*the manifest says"):
        _open(tmp_path, tiny_graph(outputs=("ctr", "log_duration")))


def test_a_graph_that_only_takes_the_number_of_rows_of_its_export_is_refused(tmp_path):
    with pytest.raises(ModelRejected, match="candidate_ids"):
        _open(tmp_path, tiny_graph(candidate_rows=3))


@pytest.mark.parametrize(
    "spec",
    [
        TensorSpec(name="candidate_ids", dtype="float32", shape=("N", 1)),
        TensorSpec(name="candidate_ids", dtype="int64", shape=("N", 2)),
        TensorSpec(name="candidate_ids", dtype="int64", shape=("N",)),
    ],
    ids=["dtype", "width", "rank"],
)
def test_an_input_that_is_not_what_the_manifest_says_is_refused(tmp_path, spec):
    manifest = tiny_manifest()
    inputs = tuple(spec if own.name == spec.name else own for own in manifest.inputs)

    with pytest.raises(ModelRejected, match="input 'candidate_ids'"):
        _open(tmp_path, tiny_graph(), manifest.model_copy(update={"inputs": inputs}))
