"""`"return": ["explain"]`, as the person on call reads it."""

import math
from itertools import pairwise

import pytest


@pytest.fixture
def ranked(client, write, example):
    def rank(formula, **more):
        answer = write({"formula": formula, **more})
        assert answer.status_code == 200, answer.text
        return client.post("/v1/rank", json=example | {"return": ["heads", "explain"], "top_k": 5}).json()["results"]

    return rank


def test_the_terms_of_a_sum_add_up_to_the_score_and_their_shares_to_one(ranked):
    for result in ranked("w * ctr + log1p(duration_seconds) - like", weights={"w": 2.0}):
        parts = result["explain"]["parts"]
        assert result["explain"]["kind"] == "terms"
        assert sum(part["value"] for part in parts) == pytest.approx(result["score"])
        assert sum(part["share"] for part in parts) == pytest.approx(1.0)
        assert parts[0]["value"] == pytest.approx(2 * result["heads"]["ctr"])


def test_the_factors_of_a_product_multiply_to_the_score(ranked):
    for result in ranked("ctr * log1p(duration_seconds)"):
        assert result["explain"]["kind"] == "factors"
        values = [part["value"] for part in result["explain"]["parts"]]
        assert math.prod(values) == pytest.approx(result["score"])


def test_the_cheapest_move_takes_a_result_to_the_score_above_it(ranked):
    results = ranked("ctr + 0.5 * like")

    assert results[0]["explain"]["one_place_up"] == []
    for above, result in pairwise(results):
        moves = result["explain"]["one_place_up"]
        assert [move["relative"] for move in moves] == sorted(move["relative"] for move in moves)
        moved = result["heads"] | {}
        moved[moves[0]["head"]] += moves[0]["change"]
        assert moved["ctr"] + 0.5 * moved["like"] == pytest.approx(above["score"])


def test_who_does_not_ask_gets_no_explanation(client, example):
    assert "explain" not in client.post("/v1/rank", json=example).json()["results"][0]
    assert client.post("/v1/rank", json=example | {"return": ["why"]}).status_code == 422
