"""Everything that the ranker may ask for arms."""

import pytest

from service.ports import NoExperiments
from tests.experimenting import Lab, experiment, layer, weighted, within
from tests.suites.assigner import AssignerSuite


class TestNoExperiments(AssignerSuite):
    @pytest.fixture
    def assigner(self):
        return NoExperiments()


class TestArmsWithNothingWritten(AssignerSuite):
    @pytest.fixture
    def assigner(self):
        return Lab().parts.chooser


class TestArmsOfLayersWithinEachOther(AssignerSuite):
    @pytest.fixture
    def assigner(self):
        lab = Lab()
        lab.put("above", layer(weighted(share=0.6), holdout=0.1))
        below = weighted("below", weights={"v": 2.0})
        lab.put("below", layer(below, within=within("above", "weights", "heavy")))
        quiet = experiment("quiet", arms=[{"name": "s", "share": 1.0, "profile": "new", "shadow": True}])
        lab.put("quiet", layer(quiet))
        return lab.parts.chooser
