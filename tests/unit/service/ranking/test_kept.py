import numpy as np
import pytest

from contract.features import Categorical, FeatureSchema, Hashed
from service.ports import Assignment
from service.ranking.kept import MISSING, OTHER_VALUE, IdHash, KeptModel, Unpacked, keep, segment_fields
from service.ranking.query import RankQuery
from tests.factories import tiny_manifest, tiny_schema

KEY = b"k" * 32


def people_schema():
    """A field that tells devices apart, and three that tell people apart."""
    return FeatureSchema(
        fields=(
            Categorical(name="device", side="request", dtype="string", table="device"),
            Categorical(name="slot", side="request", dtype="int", table="slot"),
            Hashed(name="user", side="request", dtype="string", table="user", buckets=100),
            Categorical(name="account", side="request", dtype="string", table="account"),
            *tiny_schema().fields,
        ),
        vocabularies={
            **tiny_schema().vocabularies,
            "device": ("phone", "x" * 100),
            "slot": tuple(range(24)),
            "account": tuple(f"account-{number}" for number in range(1_001)),
        },
    )


def kept(request, *, item_ids=("i1", "i2"), candidates=None, stored=None, schema=None, weights=None, heads=None):
    manifest = tiny_manifest().model_copy(update={"features": schema or people_schema()})
    model = KeptModel.of(manifest, 3)
    query = RankQuery(item_ids=list(item_ids), request=request, candidates=candidates or {})
    heads = heads or {name: np.zeros(len(item_ids), dtype=np.float32) for name in model.heads}
    return keep(
        query,
        model=model,
        schema=manifest.features,
        by=Assignment(model=None, profile="p", weights=weights or {}),
        heads=heads,
        stored=stored or {},
        taken_at=5.0,
        id_hash=IdHash(KEY),
    )


def unpacked(request):
    return Unpacked.of(request.packed, request.size, request.model)


def test_heads_and_numbers_come_back_as_they_were():
    heads = {"ctr": [0.1, 0.2], "duration_seconds": [3.0, 4.0], "log_duration": [1.0, 2.0]}
    arrays = {name: np.array(values, dtype=np.float32) for name, values in heads.items()}

    numbers = unpacked(kept({}, candidates={"price": [1.5, None]}, heads=arrays))

    assert numbers.heads.tolist() == [pytest.approx(values) for values in heads.values()]
    assert numbers.numbers.tolist() == [[1.5, 2.0]]


def test_numbers_are_the_callers_then_the_item_tables_then_the_default():
    stored = {"price": np.array([9.0, 3.0])}

    assert unpacked(kept({}, stored=stored)).numbers.tolist() == [[9.0, 3.0]]
    assert unpacked(kept({}, stored=stored, candidates={"price": [0.5, None]})).numbers.tolist() == [[0.5, 2.0]]
    assert unpacked(kept({})).numbers.tolist() == [[2.0, 2.0]]


def test_numbers_of_the_request_are_kept_with_their_default():
    assert unpacked(kept({"hour": 20.0}, schema=tiny_schema())).request_numbers.tolist() == [20.0]
    assert unpacked(kept({}, schema=tiny_schema())).request_numbers.tolist() == [12.0]


def test_what_is_kept_holds_no_array_of_the_batch():
    batch = np.arange(3_000, dtype=np.float32)
    heads = dict.fromkeys(("ctr", "duration_seconds", "log_duration"), batch[10:12])

    request = kept({}, heads=heads)
    batch[:] = -1.0

    assert isinstance(request.packed, bytes)
    assert unpacked(request).heads.tolist() == [[10.0, 11.0]] * 3


def test_a_value_of_a_small_vocabulary_is_readable_and_all_else_is_not():
    request = {"device": "phone", "slot": 7, "user": "ann", "account": "account-5"}

    device, slot, user, account = kept(request).segments

    assert (device, slot) == ("phone", "7")
    assert user == IdHash(KEY).one("ann")
    assert account == IdHash(KEY).one("account-5")


def test_a_value_that_the_vocabulary_does_not_hold_is_never_kept():
    assert kept({"device": "ann@example.org"}).segments[0] == OTHER_VALUE
    assert kept({}).segments == (MISSING,) * 4


def test_readable_values_are_cut_to_64_characters():
    assert kept({"device": "x" * 100}).segments[0] == "x" * 64


def test_requests_can_be_told_apart_by_categories_and_hashes_alone():
    assert segment_fields(people_schema()) == ("device", "slot", "user", "account")


def test_the_same_id_has_the_same_hash_in_one_process_and_another_in_the_next():
    one, again, other = IdHash(KEY), IdHash(KEY), IdHash()

    assert one.column(["i1", "i2", "i1"]).tolist() == again.column(["i1", "i2", "i1"]).tolist()
    assert one.column(["i1"]).tolist() != other.column(["i1"]).tolist()


def test_a_hash_is_shown_as_the_number_that_is_kept():
    assert f"{IdHash(KEY).column(['i1'])[0]:016x}" == IdHash(KEY).one("i1")


def test_long_lists_and_odd_ids_are_hashed_in_order():
    ids = [f"i{number}" for number in range(600)] + ["", "\ud800", "é"]

    found = IdHash(KEY).column(ids)

    assert found.tolist() == [int(IdHash(KEY).one(each), 16) for each in ids]


def test_a_request_remembers_its_profile_and_that_its_weights_were_turned():
    assert kept({}).profile == "p"
    assert (kept({}, weights={"w": 1.0}).turned, kept({}).turned) == (True, False)
