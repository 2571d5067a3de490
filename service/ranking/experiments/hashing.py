"""From a unit to a bucket: the same in every process, on every machine and in every release of Python."""

import hashlib
from typing import Any

from service.ranking.experiments.documents import BUCKETS

__all__ = ["BucketHash", "unit_bytes"]


def unit_bytes(value: Any) -> bytes | None:
    """Give what is hashed of a unit's value; None where it names nobody.

    A whole number and its digits are the same unit, since clients differ in how they write an id.
    """
    if isinstance(value, str):
        return value.encode(errors="surrogatepass") or None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float) and not value.is_integer():
        return None
    return str(int(value)).encode()


class BucketHash:
    """Puts units into buckets ``0 … 9999``, each equally likely; hashes of other names know nothing of each other.

    Set apart by BLAKE2b's own personalisation (RFC 7693), so that a layer's buckets and an experiment's arms are
    independent. 2^64 is so much more than the number of buckets that the remainder favours none.

    Args:
        kind: What the buckets are for; at most 16 bytes.
        names: Whatever tells this hash from the others, salt first; without NUL.
    """

    def __init__(self, kind: bytes, *names: str) -> None:
        prefix = b"".join(name.encode() + b"\x00" for name in names)
        self._hash = hashlib.blake2b(prefix, digest_size=8, person=kind)

    def __call__(self, unit: bytes) -> int:
        """Give the unit's bucket."""
        digest = self._hash.copy()
        digest.update(unit)
        return int.from_bytes(digest.digest(), "big") % BUCKETS
