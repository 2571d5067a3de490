import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from service.ranking.ordering import order_by_score

# Few distinct values, so that ties are the rule; -inf is what a score that was not finite becomes.
TIED = st.lists(st.sampled_from([-np.inf, -1.5, -0.0, 0.0, 1.0, 2.0]), max_size=40)
FREE = st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=40)


@given(scores=TIED | FREE, top_k=st.none() | st.integers(1, 50))
def test_the_best_come_first_and_equal_scores_keep_the_callers_order(scores, top_k):
    slow = sorted(range(len(scores)), key=lambda row: (-scores[row], row))[:top_k]

    assert order_by_score(np.array(scores, dtype=np.float64), top_k).tolist() == slow
