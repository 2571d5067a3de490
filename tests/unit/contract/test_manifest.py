"""The manifest names plain files only."""

import pytest
from pydantic import ValidationError

from tests.unit.contract.test_bundle import manifest


@pytest.mark.parametrize("name", ["", ".", "..", "../secret", "/etc/passwd", "a/b", "a\\b", "a\0"])
def test_a_manifest_cannot_name_a_file_outside_its_bundle(name):
    with pytest.raises(ValidationError, match="without a folder"):
        manifest({name: "0" * 64})


def test_formula_variables_are_the_heads():
    assert manifest({"model.onnx": "0" * 64}).formula_variables() == {"ctr": "head (probability)"}
