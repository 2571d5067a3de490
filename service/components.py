"""The parts of the service, built from the settings. Nothing here is global, and nothing is opened or read yet."""

import os
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from prometheus_client import CollectorRegistry, ProcessCollector

from contract.bundle import Bundle
from contract.encoding import Encoder
from service.api.health import Lifecycle
from service.ranking.compiling import LearnedLoader, ProfileCompiler
from service.ranking.editing import FusionEditor
from service.ranking.experiments.assembly import Experiments, experiments_over
from service.ranking.follower import Follower, FollowerState
from service.ranking.fusions import FAMILY, FusionBook
from service.ranking.preview import KeptProfileCompiler
from service.ranking.preview_desk import PreviewDesk
from service.ranking.proposal import InForceProfile
from service.ranking.reservoir import Reservoir
from service.revisions import ProcessState, RevisionStore
from service.runtime.aside import Aside
from service.runtime.batcher import Batcher
from service.runtime.gate import check_golden, check_halves, example_body, golden_rows
from service.runtime.learned import FusionShelf
from service.runtime.model import LoadedModel
from service.runtime.onnx import OnnxRuntime
from service.runtime.preactivated import open_halves, preactivate
from service.runtime.registry import ModelRegistry
from service.runtime.threads import ThreadPlan, core_limit, plan_threads
from service.runtime.warm_up import measure_cost
from service.settings import Settings
from service.stores.items import read_items
from service.stores.last_good import LastGoodFile
from service.stores.opening import open_revision_store
from service.telemetry.metrics import Metrics

__all__ = ["Components", "build_components", "load_bundle", "release", "thread_plan"]


def release() -> str:
    """Give the version of the installed package; ``0+unknown`` in a tree that was never installed."""
    try:
        return version("fulcrum-ranking")
    except PackageNotFoundError:
        return "0+unknown"


@dataclass(frozen=True, kw_only=True)
class Components:
    """The parts that the app joins; a test may hand in its own."""

    metrics: Metrics
    store: RevisionStore
    learned: LearnedLoader | None
    fusions: FusionBook
    follower: Follower
    editor: FusionEditor
    experiments: Experiments
    registry: ModelRegistry
    reservoir: Reservoir
    aside: Aside
    lifecycle: Lifecycle


def build_components(settings: Settings) -> Components:
    """Build every part from the settings; nothing is opened or read yet."""
    prometheus = CollectorRegistry()
    ProcessCollector(registry=prometheus)
    metrics = Metrics(prometheus, version=release())
    store = open_revision_store(settings.fusion_store)
    learned = FusionShelf(settings.fusions_dir).load if settings.fusions_dir else None
    compile_profile = ProfileCompiler(learned)
    fusions = FusionBook(compile_profile=compile_profile)
    registry = ModelRegistry(
        settings.models_dir,
        load=bundle_loader(settings, metrics),
        accept=fusions.check_model,
        observer=metrics,
    )
    experiments = experiments_over(store=store, catalog=registry, fusions=fusions, observer=metrics.experiments)
    follower = Follower(
        store=store,
        books=[fusions, experiments.book],
        process=this_process(),
        heartbeat_s=settings.heartbeat_s,
        on_change=lambda _: fusions.warm(registry.all()),
        memory=LastGoodFile(settings.last_good_file) if settings.last_good_file else None,
    )
    metrics.watch(registry, lambda: ((name, fusions.revision_of(FAMILY + name)) for name in fusions.profiles()))
    metrics.watch_store(lambda: _store_figures(follower.state))
    reservoir = Reservoir(max_requests=settings.preview_requests, max_rows=settings.preview_rows, clock=time.monotonic)
    metrics.watch_preview(lambda: reservoir.num_requests)
    return Components(
        metrics=metrics,
        store=store,
        learned=learned,
        fusions=fusions,
        follower=follower,
        editor=FusionEditor(store=store, book=fusions, catalog=registry, compile_profile=compile_profile),
        experiments=experiments,
        registry=registry,
        reservoir=reservoir,
        aside=Aside(),
        lifecycle=Lifecycle(),
    )


def this_process() -> ProcessState:
    """Name this start of this process, as the others will see it."""
    return ProcessState(
        process_id=uuid.uuid4().hex[:12],
        host=socket.gethostname(),
        pid=os.getpid(),
        applied=0,
        seen_at=datetime.now(UTC),
    )


def _store_figures(state: FollowerState) -> tuple[bool, int, int]:
    return state.is_up, state.applied, len(state.unreadable)


def thread_plan(settings: Settings) -> ThreadPlan:
    """Lay the work on the cores that this process may use."""
    return plan_threads(core_limit(), runners=settings.runners, threads=settings.threads)


def bundle_loader(settings: Settings, metrics: Metrics) -> Callable[[Bundle], LoadedModel]:
    """Give the function that opens a bundle, with its limits and threads bound."""
    threads = thread_plan(settings).threads

    def load(bundle: Bundle) -> LoadedModel:
        return load_bundle(settings, metrics, bundle, threads=threads)

    return load


def load_bundle(settings: Settings, metrics: Metrics, bundle: Bundle, *, threads: int) -> LoadedModel:
    """Open a bundle and hold it against its golden rows. Blocking.

    Raises:
        ModelRejected: When the graph or its answers differ from the manifest.
        ContractError: When the bundle itself cannot be read.
    """
    encoder = Encoder(bundle.manifest.features)
    whole = OnnxRuntime.open(bundle.model_path, bundle.manifest, threads=threads)
    golden = bundle.golden()
    check_golden(bundle, golden, encoder, whole)
    halves = open_halves(bundle, threads=threads) if settings.max_preactivation_mib else None
    if halves is not None:
        check_halves(bundle, golden, encoder, halves)
    items = read_items(bundle.items_path, encoder)
    runtime = preactivate(bundle, whole, halves, items.encoded, most_bytes=settings.max_preactivation_mib * 2**20)
    batcher = Batcher(
        runtime.run,
        max_batch_rows=settings.max_batch_rows,
        max_waiting_rows=settings.max_waiting_rows,
        max_queue_wait_s=settings.max_queue_wait_ms / 1000,
        workers=settings.runners,
        clock=time.monotonic,
        observer=metrics,
        model=measure_cost(
            runtime.run,
            golden_rows(golden, encoder),
            max_batch_rows=settings.max_batch_rows,
            clock=time.perf_counter,
        ),
    )
    return LoadedModel(
        bundle=bundle,
        encoder=encoder,
        items=items,
        runtime=runtime,
        batcher=batcher,
        example=example_body(bundle.manifest.name, golden),
    )


def preview_desk(parts: Components) -> PreviewDesk:
    """Give what answers previews."""

    def in_force(profile_name: str) -> InForceProfile:
        standing, _, profile = parts.fusions.in_force(profile_name)
        return InForceProfile(name=profile_name, revision=standing.revision.revision, profile=profile)

    return PreviewDesk(
        reservoir=parts.reservoir,
        in_force=in_force,
        compile_kept=KeptProfileCompiler(load=parts.learned),
        catalog=parts.registry,
        run=parts.aside,
        observer=parts.metrics,
        clock=time.monotonic,
    )
