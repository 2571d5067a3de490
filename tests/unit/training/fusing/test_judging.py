"""Rankings are judged request by request, as a loop over requests would."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from contract.fusion import FusionProfile
from service.ranking.ordering import order_by_score
from tests.unit.training.fusing.logs import make_log, some_columns, some_log
from training.fusing.judging import ndcg_by_request, places, total_in_top
from training.fusing.scoring import FormulaScorer
from training.metrics import ndcg_at

LISTS = st.lists(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0.0, 0.5, 1.0, -np.inf, np.nan])), min_size=1, max_size=9),
    min_size=1,
    max_size=8,
)


def _flat(lists):
    gains, scores = np.array([row for each in lists for row in each], dtype=float).T
    return gains, scores, np.r_[0, np.cumsum([len(each) for each in lists])]


@given(LISTS)
def test_places_are_those_that_the_service_would_give(lists):
    _, scores, offsets = _flat(lists)
    finite = np.where(np.isfinite(scores), scores, -np.inf)

    got = places(scores, offsets)

    for start, stop in pairwise(offsets):
        assert np.argsort(got[start:stop]).tolist() == order_by_score(finite[start:stop], None).tolist()


@given(LISTS, st.integers(1, 5))
def test_ndcg_and_totals_are_those_of_a_loop(lists, k):
    gains, scores, offsets = _flat(lists)
    place = places(scores, offsets)

    ndcg, total = ndcg_by_request(gains, place, offsets, k), total_in_top(gains, place, offsets, k)

    for r, (start, stop) in enumerate(pairwise(offsets)):
        best = np.argsort(place[start:stop])[:k] + start
        ideal = np.sort(gains[start:stop])[::-1][:k]
        discount = 1 / np.log2(np.arange(len(best)) + 2)
        wanted = (gains[best] @ discount) / (ideal @ discount) if ideal.any() else np.nan
        np.testing.assert_allclose(ndcg[r], wanted)
        assert total[r] == gains[best].sum()


def test_mean_ndcg_is_the_offline_reports():
    log = some_log(50)
    scores, gains = log.columns["ctr"], log.columns["click"]

    mine = np.nanmean(ndcg_by_request(gains, places(scores, log.offsets), log.offsets, 10))

    np.testing.assert_allclose(mine, ndcg_at(gains, scores, log.list_of_row(), k=10), rtol=1e-12)


def test_a_formula_over_all_requests_is_the_formula_of_each_request():
    lengths = [4, 1, 7]
    log = make_log(some_columns(12), lengths)
    weights = {"w": 0.25}
    for formula in ("w*ctr + log1p(duration_seconds)", "w*rank(ctr) + softmax(price)"):
        scorer = FormulaScorer(FusionProfile(formula=formula, weights={"w": 1.0}), log)

        whole = scorer(weights)

        parts = [FormulaScorer(scorer.fusion.profile, log.span(r, r + 1))(weights) for r in range(len(lengths))]
        np.testing.assert_allclose(whole, np.concatenate(parts))


def test_a_score_that_is_not_finite_ranks_last():
    log = make_log({**some_columns(3), "ctr": [0.0, 0.5, 0.2]}, [3])

    scores = FormulaScorer(FusionProfile(formula="1 / ctr", non_finite="fail"), log)()

    assert scores.tolist() == [-np.inf, 2.0, 5.0]
