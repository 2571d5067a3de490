import pytest

from tests.kept import run_here
from tests.suites.preview_runner import PreviewRunnerSuite

pytestmark = pytest.mark.anyio


class TestRunHere(PreviewRunnerSuite):
    @pytest.fixture
    def run(self):
        return run_here
