"""Which buckets belong to whom, whatever an operator writes one after the other."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from service.ranking.experiments.allotment import AllottedLayer, allot
from service.ranking.experiments.documents import BUCKETS, count_of
from tests.experimenting import experiment, layer

NAMES = ("a", "b", "c", "d", "e")
LAYERS = st.builds(
    lambda holdout, shares: layer(
        *(experiment(name, share=share / 100) for name, share in shares.items()), holdout=holdout / 100
    ),
    st.integers(0, 30),
    st.dictionaries(st.sampled_from(NAMES), st.integers(1, 14), max_size=5),
)


def buckets(ranges):
    return [bucket for start, end in ranges for bucket in range(start, end)]


def everybody(allotted):
    named = {name: buckets(ranges) for name, ranges in allotted.allotment.experiments.items()}
    return {"holdout": buckets(allotted.allotment.holdout), **named}


@given(st.lists(LAYERS, min_size=1, max_size=6))
@settings(deadline=None)
def test_everyone_has_as_many_buckets_as_its_share_and_no_bucket_has_two_owners(written):
    allotted = None
    for document in written:
        allotted = allot(document, allotted.allotment if allotted else None)
        owners = everybody(allotted)
        shares = {"holdout": document.holdout} | {each.name: each.share for each in document.experiments}

        assert {name: len(owned) for name, owned in owners.items()} == {n: count_of(s) for n, s in shares.items()}
        taken = [bucket for owned in owners.values() for bucket in owned]
        assert len(taken) == len(set(taken))
        assert set(taken) <= set(range(BUCKETS))


@given(LAYERS, LAYERS)
@settings(deadline=None)
def test_who_stays_keeps_its_buckets_in_their_order_whatever_happens_to_the_others(before, after):
    first = allot(before)
    second = everybody(allot(after, first.allotment))

    for name, owned in everybody(first).items():
        if name in second:
            both = min(len(owned), len(second[name]))
            assert second[name][:both] == owned[:both], name


def test_one_that_grows_past_its_neighbour_takes_free_buckets_behind_it():
    first = allot(layer(experiment("a", share=0.1), experiment("b", share=0.1)))
    second = allot(layer(experiment("a", share=0.3), experiment("b", share=0.1)), first.allotment)

    assert first.allotment.experiments == {"a": ((0, 1000),), "b": ((1000, 2000),)}
    assert second.allotment.experiments == {"a": ((0, 1000), (2000, 4000)), "b": ((1000, 2000),)}


def test_one_that_leaves_frees_its_buckets_for_one_that_comes():
    first = allot(layer(experiment("a", share=0.5), experiment("b", share=0.5)))
    second = allot(layer(experiment("b", share=0.5), experiment("c", share=0.5)), first.allotment)

    assert second.allotment.experiments == {"b": ((5000, 10_000),), "c": ((0, 5000),)}


@pytest.mark.parametrize(
    ("allotment", "says"),
    [
        ({"experiments": {"a": [[0, 999]]}}, "a share and its buckets"),
        ({"experiments": {"a": [[0, 1000]], "b": [[1000, 2000]]}}, "that have buckets"),
        ({"experiments": {"a": [[0, 500], [499, 999]]}}, "the same bucket"),
        ({"experiments": {"a": [[9500, 10_500]]}}, "less than or equal"),
    ],
)
def test_a_kept_document_whose_buckets_contradict_its_shares_is_not_read(allotment, says):
    document = {"layer": layer(experiment("a", share=0.1)).model_dump(), "allotment": allotment}

    with pytest.raises(ValidationError, match=says):
        AllottedLayer.model_validate(document)
