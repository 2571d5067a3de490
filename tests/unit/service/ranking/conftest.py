import pytest

from contract.bundle import read_bundle
from tests.conftest import ROOT
from tests.fusion_desk import Desk, ServedModel


@pytest.fixture(scope="module")
def model():
    return ServedModel(manifest=read_bundle(ROOT / "models_onnx" / "demo" / "1").manifest)


@pytest.fixture
def desk(model):
    return Desk(model)
