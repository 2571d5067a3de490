"""What an operator may write."""

import pytest
from pydantic import ValidationError

from service.ranking.experiments.documents import Layer
from tests.experimenting import HALVES, after, experiment, layer, weighted

SHADOW = {"name": "quiet", "share": 1.0, "profile": "new", "shadow": True}


def arms(*shares):
    return [{"name": f"a{number}", "share": share} for number, share in enumerate(shares)]


@pytest.mark.parametrize(
    ("experiments", "says"),
    [
        ([experiment(arms=arms(0.5, 0.4))], "sum to 0.9, not to 1"),
        ([experiment(arms=arms(0.99999, 0.00001))], "too small"),
        ([experiment(share=0.00001)], "too small"),
        ([experiment(arms=[])], "at least 1"),
        ([experiment(arms=[*arms(0.5), *arms(0.5)])], "two arms are named 'a0'"),
        ([experiment(share=0.1), experiment(share=0.1)], "two experiments are named 'formula'"),
        ([experiment(share=0.6), weighted(share=0.5)], "1.1 of the layer"),
        ([experiment("holdout")], "take another name"),
        ([experiment(arms=[{"name": "control", "share": 1.0, "profile": "new"}])], "'control' changes something"),
        ([experiment(arms=[SHADOW | {"profile": None}])], "changes nothing, so there is nothing to compare"),
        ([experiment(arms=[SHADOW | {"model": "big"}])], "a shadow fuses the heads of the model that answers"),
        ([experiment(arms=[{"name": "big", "share": 1.0, "model": "big"}])], "say in 'on' which model"),
        ([experiment(starts_at=after(2).isoformat(), ends_at=after(1).isoformat())], "ends before it starts"),
        ([experiment(ramp=[{"at": after(2).isoformat(), "share": 0.1}], ends_at=after(1).isoformat())], "ends before"),
        ([experiment(ramp=[{"at": after(n).isoformat(), "share": 0.1 / n} for n in (1, 2)])], "rise with time"),
        ([experiment(ramp=[{"at": after(1).isoformat(), "share": s} for s in (0.1, 0.2)])], "rise with time"),
        ([experiment(ramp=[{"at": after(1).isoformat(), "share": 0.6}])], "rises to 0.6, beyond its share of 0.5"),
        ([experiment(starts_at="2026-03-01T12:00:00")], "timezone"),
        ([experiment(share="0.5")], "valid number"),
        ([experiment(share=True)], "valid number"),
        ([weighted(weights={"w": float("nan")})], "finite"),
        ([experiment(audience="everybody")], "Extra inputs"),
    ],
)
def test_an_experiment_that_cannot_be_is_refused_with_what_is_wrong(experiments, says):
    with pytest.raises(ValidationError, match=says):
        layer(*experiments)


def test_shares_that_no_decimal_hits_are_cut_so_that_every_bucket_has_an_arm():
    third = layer(experiment(arms=arms(1 / 3, 1 / 3, 1 / 3))).experiments[0]

    assert third.cut() == (("a0", 3333), ("a1", 6667), ("a2", 10_000))


def test_a_layer_comes_back_from_json_as_it_was():
    written = layer(
        experiment(starts_at=after(1).isoformat(), ramp=[{"at": after(2).isoformat(), "share": 0.1}]),
        weighted(share=0.2, on={"profile": "other", "model": "big"}),
        experiment("shadow", share=0.1, arms=[SHADOW]),
        salt="2026",
        holdout=0.1,
        within={"layer": "above", "experiment": "e", "arm": "a"},
    )

    assert Layer.model_validate_json(written.model_dump_json()) == written
    assert written.experiments[0].arms[0].name == HALVES[0]["name"]
