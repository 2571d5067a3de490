"""Kept requests made by hand, and a preview of them in this process."""

from dataclasses import replace

import numpy as np

from contract.fusion import FusionProfile
from service.ranking.blocks import Block, Part, parts_of
from service.ranking.kept import KeptModel, KeptRequest, Unpacked
from service.ranking.preview import KeptProfileCompiler, PreviewJob
from tests.factories import tiny_manifest

TINY = KeptModel.of(tiny_manifest(), 1)
"""Heads ctr, duration_seconds and log_duration; the request's hour; the candidates' price."""

WITH_SEGMENTS = replace(TINY, segments={"device": frozenset({"phone", "tv"}), "user": None})


def kept_request(
    ctr, *, price=None, duration=None, items=None, model=TINY, segments=None, profile="default", age=0.0, hour=20.0
):
    """Keep a request whose heads and numbers are given; what is left out is zero, items count from 1."""
    size = len(ctr)
    columns = [np.zeros(size) if column is None else column for column in (ctr, duration, None)]
    unpacked = Unpacked(
        request_numbers=np.array([hour]),
        numbers=np.array([np.zeros(size) if price is None else price], dtype=np.float64),
        items=np.array(range(1, size + 1) if items is None else items, dtype=np.uint64),
        heads=np.array(columns, dtype=np.float32),
    )
    return KeptRequest(
        model=model,
        profile=profile,
        size=size,
        taken_at=-age,
        turned=False,
        segments=segments or ("x",) * len(model.segments),
        packed=unpacked.pack(),
    )


def formula(text, **weights):
    return FusionProfile(formula=text, weights=weights)


def job(before, after, *, requests, top_k=10, segment_by=None, budget_s=60.0):
    """Give the work that compares two formulas over requests, at time 0."""
    before, after = (formula(each) if isinstance(each, str) else each for each in (before, after))
    return PreviewJob(
        models={request.model.key: request.model for request in requests},
        compile_kept=KeptProfileCompiler(),
        before=before,
        after=after,
        top_k=top_k,
        segment_by=segment_by,
        budget_s=budget_s,
        now=0.0,
    )


def preview_of(before, after, requests, *, rows=8_192, **options):
    """Compare two formulas over requests."""
    return job(before, after, requests=requests, **options)(parts_of(requests, rows=rows))


def block_of(*requests):
    return Block.of(Part.of(list(requests)), requests[0].model)


async def run_here(work, parts, *, budget_s):
    """A runner that starts no process."""
    return work(iter(parts))
