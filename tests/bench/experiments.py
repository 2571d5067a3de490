"""What experiments cost: ``python -m tests.bench.experiments``.

Assignment in microseconds by layers, and the latency of live requests while shadows are scored beside them.
"""

import asyncio
import time
import timeit
from pathlib import Path

import numpy as np
from rich.console import Console

from contract.bundle import latest_bundle
from contract.fusion import FusionProfile
from service.api.encode import encode_result
from service.components import build_components, load_bundle
from service.ports import NoExperiments
from service.ranking.experiments.documents import Layer
from service.ranking.query import RankQuery
from service.ranking.ranker import Ranker
from service.ranking.revising import Author
from service.settings import Settings
from tests.fakes import FakeCatalog

show = Console(soft_wrap=True).print
LAYERS = 5
CANDIDATES, REQUESTS, CONNECTIONS = 500, 600, 4
WEIGHTS = {f"w{number}": 1.0 for number in range(LAYERS)}
FORMULA = " + ".join(f"{name} * ctr" for name in WEIGHTS)


class Bench:
    """The demo model behind the app's own parts, with no store on disk and no HTTP."""

    def __init__(self):
        settings = Settings(models_dir=Path("models_onnx"), fusion_store=":memory:")
        self.parts = build_components(settings)
        self.model = load_bundle(settings, self.parts.metrics, latest_bundle(settings.models_dir, "demo"), threads=1)
        self.parts.registry._models = {"demo": self.model}
        self.random = np.random.default_rng(0)

    async def profile(self, name, formula, **weights):
        await self.parts.editor.put(name, FusionProfile(formula=formula, weights=weights), Author(name="bench"))

    async def layer(self, name, *arms):
        experiment = {"name": "e", "share": 1.0, "arms": [*arms]}
        document = Layer.model_validate({"unit": "user", "experiments": [experiment]})
        await self.parts.experiments.editor.put(name, document, Author(name="bench"))

    def query(self, number):
        items = self.random.integers(0, 1000, CANDIDATES)
        request = {"user": f"u{number}", "hour": 20}
        return RankQuery(item_ids=[f"i{item}" for item in items], request=request, candidates={}, top_k=50)

    async def latencies(self, assigner):
        """Give milliseconds of each request, answered and encoded, with CONNECTIONS at a time."""
        ranker = Ranker(
            catalog=FakeCatalog(self.model),
            fusions=self.parts.fusions,
            observer=self.parts.metrics,
            clock=time.monotonic,
            experiments=assigner,
        )
        queries, took = [self.query(number) for number in range(REQUESTS)], []

        async def connection():
            while queries:
                query, began = queries.pop(), time.perf_counter()
                encode_result(await ranker.rank(query))
                took.append((time.perf_counter() - began) * 1000.0)

        await asyncio.gather(*(connection() for _ in range(CONNECTIONS)))
        return np.array(took)


def microseconds(assigner, queries):
    def all_of_them():
        for query in queries:
            assigner.assign(query)

    return min(timeit.repeat(all_of_them, number=1, repeat=300)) / len(queries) * 1e6


async def assignment():
    """Print what assigning costs; everybody is in every layer, and half of them in an arm that turns a weight."""
    bench = Bench()
    await bench.profile("default", FORMULA, **WEIGHTS)
    queries = [bench.query(number) for number in range(200)]
    chooser = bench.parts.experiments.chooser
    show(f"no experiments at all      {microseconds(NoExperiments(), queries):6.2f} µs")
    show(f"nothing written            {microseconds(chooser, queries):6.2f} µs")
    for number in range(LAYERS):
        control, turned = (
            {"name": "control", "share": 0.5},
            {"name": "up", "share": 0.5, "weights": {f"w{number}": 2.0}},
        )
        await bench.layer(f"layer{number}", control, turned)
        show(f"{number + 1} layers                   {microseconds(chooser, queries):6.2f} µs")


async def shadows():
    """Print the latency of requests without and with a shadow of each, in turn."""
    bench = Bench()
    await bench.profile("default", FORMULA, **WEIGHTS)
    await bench.profile("other", "ctr * log1p(duration_seconds) + like")
    await bench.layer("quiet", {"name": "s", "share": 1.0, "profile": "other", "shadow": True})
    chooser, plain, shadowed = bench.parts.experiments.chooser, [], []
    await bench.latencies(NoExperiments())
    for _ in range(5):
        plain.append(await bench.latencies(NoExperiments()))
        shadowed.append(await bench.latencies(chooser))
        await bench.parts.experiments.shadows.settled()
    for name, runs in (("without", plain), ("with", shadowed)):
        p50, p99 = (np.median([np.percentile(run, part) for run in runs]) for part in (50, 99))
        show(f"{name:8} a shadow of each request: p50 {p50:6.2f} ms, p99 {p99:6.2f} ms")
    for line in bench.parts.metrics.render().decode().splitlines():
        if line.startswith("fulcrum_shadow_requests"):
            show(line)
    await bench.parts.experiments.shadows.aclose()
    await bench.model.aclose()


if __name__ == "__main__":
    asyncio.run(assignment())
    asyncio.run(shadows())
