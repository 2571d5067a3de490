"""What a fusion profile is over time: its base, a change with an end, and windows in which another takes over.

A plan says at any moment which profile is in force, from the clock alone: a campaign ends by itself in every process,
with no writer and with no store.
"""

from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from typing import Literal, Self

from pydantic import AwareDatetime, Field, model_validator

from contract.frozen import Frozen
from contract.fusion import AnyProfile

__all__ = ["BASE", "TEMPORARY", "FusionPlan", "Schedule", "Temporary"]

BASE = "base"
TEMPORARY = "temporary"


class Temporary(Frozen):
    """A change with a time to live; the base comes back after it."""

    until: AwareDatetime
    profile: AnyProfile


class Schedule(Frozen):
    """A window in which another profile takes over, from *starts_at* on and before *ends_at*."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
    starts_at: AwareDatetime
    ends_at: AwareDatetime
    profile: AnyProfile

    @model_validator(mode="after")
    def _ends_after_its_start(self) -> Self:
        if self.ends_at <= self.starts_at:
            msg = f"{self.name!r} ends before it starts"
            raise ValueError(msg)
        return self

    def is_open(self, now: datetime) -> bool:
        """Tell whether *now* is in the window."""
        return self.starts_at <= now < self.ends_at


class FusionPlan(Frozen):
    """One revision of a profile, whole.

    Args:
        profile: In force whenever nothing else is.
        temporary: In force until its end, unless a window is open.
        schedules: In force in their windows, which never overlap.
    """

    schema_version: Literal[1] = 1
    profile: AnyProfile
    temporary: Temporary | None = None
    schedules: tuple[Schedule, ...] = Field(default=(), max_length=100)

    @model_validator(mode="after")
    def _one_at_a_time(self) -> Self:
        names = [schedule.name for schedule in self.schedules]
        if twice := {name for name in names if names.count(name) > 1}:
            msg = f"two schedules are named {min(twice)!r}"
            raise ValueError(msg)
        ordered = sorted(self.schedules, key=lambda schedule: schedule.starts_at)
        for first, second in pairwise(ordered):
            if second.starts_at < first.ends_at:
                msg = f"the windows of {first.name!r} and {second.name!r} overlap"
                raise ValueError(msg)
        return self

    def in_force(self, now: datetime) -> tuple[str, AnyProfile]:
        """Give what is in force, and why: ``base``, ``temporary`` or ``schedule:<name>``."""
        for schedule in self.schedules:
            if schedule.is_open(now):
                return f"schedule:{schedule.name}", schedule.profile
        if self.temporary is not None and now < self.temporary.until:
            return TEMPORARY, self.temporary.profile
        return BASE, self.profile

    def variants(self) -> Iterator[tuple[str, AnyProfile]]:
        """Give every profile of the plan with its reason, the base first."""
        yield BASE, self.profile
        if self.temporary is not None:
            yield TEMPORARY, self.temporary.profile
        for schedule in self.schedules:
            yield f"schedule:{schedule.name}", schedule.profile

    def without_past(self, now: datetime) -> Self:
        """Give the plan without the change and the windows that are over."""
        kept = tuple(schedule for schedule in self.schedules if now < schedule.ends_at)
        temporary = self.temporary if self.temporary is not None and now < self.temporary.until else None
        return self.model_copy(update={"schedules": kept, "temporary": temporary})
