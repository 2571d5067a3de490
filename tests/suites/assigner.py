"""What everything that puts requests into arms must do."""

import pytest

from service.errors import ServiceError
from service.ranking.query import RankQuery
from tests.experimenting import units


def query(unit="u1", **more):
    return RankQuery(item_ids=["i1"], request={}, candidates={}, units={"user_id": unit}, **more)


class AssignerSuite:
    """Inherit and give a fixture ``assigner`` over a model ``tiny`` and a profile ``default`` with a weight ``w``."""

    @pytest.mark.parametrize("user", units(20))
    def test_the_same_request_is_always_assigned_the_same(self, assigner, user):
        assert assigner.assign(query(user)) == assigner.assign(query(user))

    def test_the_requests_own_weights_are_kept(self, assigner):
        for user in units(20):
            assert assigner.assign(query(user, weights={"w": 0.25})).weights["w"] == 0.25

    def test_exposures_are_real_chances_and_an_assignment_without_them_is_what_was_asked(self, assigner):
        for user in units(100):
            asked = query(user, model="tiny", weights={"w": 0.5})
            assigned = assigner.assign(asked)
            assert all(0.0 < each.propensity <= 1.0 for each in assigned.exposures)
            if not assigned.exposures:
                assert (assigned.model, assigned.profile, assigned.weights) == (asked.model, "default", asked.weights)

    def test_a_profile_that_there_is_not_is_left_to_the_ranker_to_refuse(self, assigner):
        assert assigner.assign(query(model="tiny", profile="nobody")).profile == "nobody"

    def test_a_model_that_there_is_not_is_refused_as_the_ranker_would_or_left_to_it(self, assigner):
        try:
            assert assigner.assign(query(model="nobody")).model == "nobody"
        except ServiceError as error:
            assert error.code == "unknown_model"
