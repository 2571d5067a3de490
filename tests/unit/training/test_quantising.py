import shutil

import numpy as np
import onnx
import pytest

from tests.small_models import make, scattered, small_schema
from training.errors import QuantisationError
from training.export import ServingModule, export_graph, graph_session, input_specs, random_inputs
from training.preactivation import check_halves, export_halves
from training.quantising.bundle import quantise_bundle, whole_outputs
from training.quantising.checks import Allowance, check_noise, check_ranking
from training.quantising.ranges import Range

SPECS = input_specs(small_schema())
CUT, WHOLE = "mmoe", "shared_bottom"


def rows(seed, batches=2):
    return [random_inputs(small_schema(), 4, 64, np.random.default_rng([seed, part])) for part in range(batches)]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """By architecture: its float graphs, and how it is cut."""
    found = {}
    for arch in (CUT, WHOLE):
        folder = tmp_path_factory.mktemp(arch)
        model = scattered(make(arch, hidden=(256, 128), num_experts=4), std=0.1)
        module = ServingModule(model, tuple(model.task_specs.values()), [spec.name for spec in SPECS])
        export_graph(module, small_schema(), folder / "model.onnx")
        found[arch] = folder, export_halves(module, small_schema(), folder) if arch == CUT else None
    return found


@pytest.fixture(params=[CUT, WHOLE])
def quantised(request, exported, tmp_path):
    folder, halves = exported[request.param]
    shutil.copytree(folder, tmp_path / "int8")
    return folder, tmp_path / "int8", quantise_bundle(tmp_path / "int8", halves, SPECS, rows(0))


def test_heads_move_by_less_than_a_tenth_of_their_spread(quantised):
    before, after, _ = quantised

    cost = check_noise(*(whole_outputs(folder / "model.onnx", rows(1)) for folder in (before, after)), Allowance())

    assert all(0 < noise < 0.1 for noise in cost.noise.values())


def test_the_large_products_are_of_8_bit_numbers_and_towers_stay_in_float(quantised):
    _, folder, _ = quantised
    graph = onnx.load(folder / "model.onnx").graph
    sizes = {each.name: int(np.prod(each.dims)) for each in graph.initializer}

    left = [sizes.get(node.input[1], 0) for node in graph.node if node.op_type in ("Gemm", "MatMul")]
    done = [node for node in graph.node if node.op_type in ("MatMulIntegerToFloat", "QLinearMatMul")]

    assert done
    assert 0 < max(left) < 16_384


def test_an_answer_does_not_depend_on_its_neighbours_in_the_batch(quantised):
    _, folder, _ = quantised
    batch = rows(2, batches=1)[0]
    some = np.array([3, 17, 40])

    together = whole_outputs(folder / "model.onnx", [batch])
    alone = whole_outputs(folder / "model.onnx", [batch.take(some)])

    for head, values in alone.items():
        np.testing.assert_allclose(values, together[head][some], atol=1e-6)


def test_an_item_gives_the_same_heads_from_the_table_as_with_its_features(exported, tmp_path):
    folder, halves = exported[CUT]
    shutil.copytree(folder, tmp_path / "int8")

    halves = quantise_bundle(tmp_path / "int8", halves, SPECS, rows(0))

    assert check_halves(small_schema(), halves, tmp_path / "int8") < 1e-6
    assert {share.name: share.dtype for share in halves.shares} == {
        "share.experts.first": "uint8",
        "share.gate": "float32",
    }


def test_graphs_get_smaller_by_what_the_weights_lose(exported, tmp_path):
    folder, halves = exported[CUT]
    shutil.copytree(folder, tmp_path / "int8")
    quantise_bundle(tmp_path / "int8", halves, SPECS, rows(0))

    before, after = ((each / "suffix.onnx").stat().st_size for each in (folder, tmp_path / "int8"))

    assert after < 0.5 * before


def test_a_head_that_moves_too_far_is_refused_by_name():
    heads = {"ctr": np.linspace(0, 1, 100, dtype=np.float32), "like": np.ones(100, np.float32)}
    moved = heads | {"ctr": heads["ctr"] * 1.2}

    with pytest.raises(QuantisationError, match="'ctr' moves"):
        check_noise(heads, moved, Allowance())


def test_a_head_that_ranks_worse_by_more_than_the_allowance_is_refused_by_name():
    before = {"ctr": {"auc": 0.7500}, "duration": {"xauc": 0.6000}}

    a_little = check_ranking(before, {"ctr": {"auc": 0.7496}, "duration": {"xauc": 0.6001}}, Allowance())
    assert a_little["ctr"] == pytest.approx(0.0004)
    with pytest.raises(QuantisationError, match=r"'duration' loses 0\.00060"):
        check_ranking(before, {"ctr": {"auc": 0.7500}, "duration": {"xauc": 0.5994}}, Allowance())


def test_a_range_holds_0_and_its_scale_reaches_both_ends():
    found = Range(low=-1.0, high=2.0)

    one, two = found.one_sided(), found.two_sided()

    assert (one.step * (255 - one.zero), one.step * (0 - one.zero)) == (2.0, 0.0)
    assert two.step * (255 - two.zero) == pytest.approx(2.0)
    assert two.step * (0 - two.zero) < -1.0
    assert found.joined(Range(low=-3.0, high=0.0)) == Range(low=-3.0, high=2.0)


def test_the_whole_graph_takes_what_the_float_graph_took(quantised):
    before, after, _ = quantised

    taken = [
        [(i.name, i.type, i.shape[1:]) for i in graph_session(f / "model.onnx").get_inputs()] for f in (before, after)
    ]

    assert sorted(taken[0]) == sorted(taken[1])


def test_a_network_without_a_large_product_is_refused(tmp_path):
    model = make("shared_bottom")
    names = [spec.name for spec in SPECS]
    export_graph(ServingModule(model, tuple(model.task_specs.values()), names), small_schema(), tmp_path / "model.onnx")

    with pytest.raises(QuantisationError, match="large enough"):
        quantise_bundle(tmp_path, None, SPECS, rows(0))
