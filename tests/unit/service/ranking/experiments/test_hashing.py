"""From a unit to a bucket."""

import subprocess
import sys
from collections import Counter

import pytest
from scipy.stats import chisquare

from service.ranking.experiments.documents import BUCKETS
from service.ranking.experiments.hashing import BucketHash, unit_bytes
from tests.conftest import ROOT
from tests.experimenting import units

# Made once with hashlib alone, the same under Python 3.8 to 3.13. A change here moves every unit of every experiment.
GOLDEN = [
    ("", "feed", "u1", 3749, 737),
    ("", "feed", "u2", 8028, 9956),
    ("2026", "feed", "u1", 4256, 8678),
    ("", "ads", "u1", 8975, 3296),
    ("", "feed", "Ωμέγα", 8395, 4361),
    ("s", "feed", "42", 8528, 940),
]


@pytest.mark.parametrize(("salt", "layer", "unit", "bucket", "arm"), GOLDEN)
def test_a_units_buckets_are_the_same_for_ever(salt, layer, unit, bucket, arm):
    assert BucketHash(b"fulcrum layer", salt, layer)(unit.encode()) == bucket
    assert BucketHash(b"fulcrum arm", salt, layer, "formula")(unit.encode()) == arm


def test_another_process_with_another_seed_of_pythons_own_hash_gives_the_same_buckets():
    code = (
        "from service.ranking.experiments.hashing import BucketHash;"
        "h = BucketHash(b'fulcrum layer', '', 'feed'); print([h(b'u%d' % n) for n in range(50)])"
    )
    own = BucketHash(b"fulcrum layer", "", "feed")

    for seed in ("1", "2"):
        found = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert found.stdout.strip() == str([own(b"u%d" % number) for number in range(50)])


@pytest.mark.parametrize(
    "ids", [units(200_000), [str(number) for number in range(200_000)]], ids=["random", "in a row"]
)
def test_every_bucket_is_equally_likely_for_whatever_ids_a_shop_has(ids):
    bucket = BucketHash(b"fulcrum layer", "salt", "feed")

    counts = Counter(bucket(unit.encode()) // 100 for unit in ids)

    assert len(counts) == BUCKETS / 100
    assert chisquare(list(counts.values())).pvalue > 1e-4


def test_a_whole_number_and_its_digits_are_one_unit_and_what_names_nobody_is_none():
    assert unit_bytes(42) == unit_bytes("42") == unit_bytes(42.0) == b"42"
    assert unit_bytes(2**63) == b"9223372036854775808"
    for nobody in (None, "", True, False, 4.2, float("nan"), float("inf"), ["u1"], {"id": "u1"}):
        assert unit_bytes(nobody) is None, nobody


def test_names_that_read_the_same_when_joined_are_not_the_same_hash():
    one, other = BucketHash(b"fulcrum layer", "a", "bc"), BucketHash(b"fulcrum layer", "ab", "c")

    assert [one(b"u%d" % n) for n in range(20)] != [other(b"u%d" % n) for n in range(20)]
