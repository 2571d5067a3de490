"""Which of the kept requests a preview ranks again."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from service.ranking.kept import KeptModel, KeptRequest

__all__ = ["Choice", "VersionUse"]


@dataclass(frozen=True, kw_only=True)
class VersionUse:
    """The kept requests that one model version scored; *refusal* says why they could not be used, or is empty."""

    model: str
    version: int
    requests: int
    refusal: str


class Choice:
    """The requests of a profile that are ranked again, counted as they are taken.

    Args:
        profile: Name.
        refusals: Versions, and why what they scored cannot be used; "" where it can.
        most: Requests that are taken at most.
    """

    def __init__(self, *, profile: str, refusals: Mapping[KeptModel, str], most: int) -> None:
        self._profile = profile
        self._refusals = refusals
        self._most = most
        self.kept: Counter[KeptModel] = Counter()
        self.chosen = 0

    def of(self, requests: Sequence[KeptRequest]) -> Iterator[KeptRequest]:
        """Take at random, in random order, one by one: all at once would hold up who waits."""
        for row in np.random.default_rng().permutation(len(requests)).tolist():
            request = requests[row]
            if request.profile == self._profile:
                self.kept[request.model] += 1
                if self.chosen < self._most and not self._refusals[request.model]:
                    self.chosen += 1
                    yield request

    def versions(self) -> tuple[VersionUse, ...]:
        """Say which version scored what was there."""
        return tuple(
            VersionUse(model=model.name, version=model.version, requests=count, refusal=self._refusals[model])
            for model, count in sorted(self.kept.items(), key=lambda each: each[0].key)
        )
