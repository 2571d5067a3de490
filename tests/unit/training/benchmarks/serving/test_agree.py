import numpy as np
import orjson
import pytest

from training.benchmarks.serving.agree import (
    Disagreement,
    Ranking,
    check_same,
    rank_correlation,
    read_ours,
    read_peer,
)
from training.benchmarks.serving.workloads import Ask, ask_of_peer, ask_of_us

ASK = Ask(user=tuple(range(24)), item_ids=(70, 80, 90), items=np.arange(48).reshape(3, 16))


def ranking(order, scores):
    return Ranking(order=np.array(order), scores=np.array(scores, float))


THEIRS = ranking([2, 0, 1], [0.9, 0.5, 0.1])


def test_the_same_answer_passes_with_its_largest_difference():
    assert check_same("fastapi", THEIRS, ranking([2, 0, 1], [0.9, 0.5 + 4e-6, 0.1])) == pytest.approx(4e-6)


def test_another_order_is_refused():
    theirs = ranking([2, 0, 1], [0.9, 0.5 + 4e-6, 0.5])

    with pytest.raises(Disagreement, match="order from place 2"):
        check_same("fastapi", theirs, ranking([2, 1, 0], [0.9, 0.5 + 4e-6, 0.5]))


def test_two_scores_that_float32_cannot_tell_apart_may_stand_either_way_round():
    theirs = ranking([2, 0, 1], [0.9, 0.5 + 1e-7, 0.5])

    check_same("fastapi", theirs, ranking([2, 1, 0], [0.9, 0.5 + 1e-7, 0.5]))


@pytest.mark.parametrize("scores", [[0.9, 0.5, 0.1001], [0.9, 0.5, float("nan")]])
def test_another_score_is_refused(scores):
    with pytest.raises(Disagreement, match="scores of fastapi and ours"):
        check_same("fastapi", THEIRS, ranking([2, 0, 1], scores))


def test_a_shorter_list_is_refused():
    with pytest.raises(Disagreement, match="ranked 3 candidates, ours 2"):
        check_same("fastapi", THEIRS, ranking([1, 0], [0.9, 0.5]))


def test_rank_correlation_is_one_for_equal_orders_and_minus_one_for_turned_ones():
    turned = ranking([1, 0, 2], [0.9, 0.5, 0.1])

    assert rank_correlation(THEIRS, THEIRS) == pytest.approx(1.0)
    assert rank_correlation(THEIRS, turned) == pytest.approx(-1.0)


def test_all_three_shapes_of_an_answer_read_alike():
    ours = orjson.dumps({"results": {"item_id": [90, 70, 80], "score": [0.9, 0.5, 0.1]}})
    plain = orjson.dumps({"order": [2, 0, 1], "score": [0.9, 0.5, 0.1]})
    v2 = orjson.dumps(
        {"outputs": [{"name": "order", "data": [[2], [0], [1]]}, {"name": "score", "data": [0.9, 0.5, 0.1]}]}
    )

    for read in (read_ours(ours, ASK), read_peer(plain), read_peer(v2)):
        assert read.order.tolist() == THEIRS.order.tolist()
        assert read.scores.tolist() == THEIRS.scores.tolist()


def test_both_sides_get_the_same_features_of_the_same_candidates():
    ours = orjson.loads(ask_of_us(ASK, model="peers", by_id=False))
    plain = orjson.loads(ask_of_peer(ASK, "plain"))
    v2 = {each["name"]: each for each in orjson.loads(ask_of_peer(ASK, "v2"))["inputs"]}

    columns = [ours["candidates"][f"c{j:02d}"] for j in range(16)]
    assert np.array(columns).T.tolist() == plain["items"] == np.reshape(v2["items"]["data"], (3, 16)).tolist()
    assert list(ours["request"].values()) == plain["user"] == v2["user"]["data"]
    assert v2["items"]["shape"] == [3, 16]


def test_by_id_no_feature_of_a_candidate_is_sent():
    assert orjson.loads(ask_of_us(ASK, model="peers", by_id=True))["candidates"] == {"item_id": [70, 80, 90]}
