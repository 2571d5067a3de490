"""The doctor's looks at one thing each."""

import os
from pathlib import Path

import pyarrow.parquet as pq

from contract.bundle import Bundle, bundle_names, bundle_versions, read_bundle
from contract.errors import ContractError
from service.doctor.report import Finding, ModelLine
from service.errors import ServiceError
from service.runtime.threads import ThreadPlan
from service.settings import PREFIX, Settings
from service.stores.opening import open_revision_store

__all__ = [
    "changed_settings",
    "cpu_flags",
    "look_at_memory",
    "look_at_models",
    "look_at_plan",
    "look_at_store",
    "without_password",
]

# 8-bit products want VNNI; float products are twice as wide with AVX-512.
_FLAGS = ("avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8")
_NO_FLAGS: frozenset[str] = frozenset()


def look_at_plan(plan: ThreadPlan, flags: tuple[str, ...]) -> list[Finding]:
    """Hold the plan against the cores."""
    found = []
    if plan.limit.cores < 1:
        found.append(
            Finding(
                problem=f"{plan.limit.source} allows {plan.limit.cores:g} of a core: bursts wait for their next share",
                fix="give the container at least one whole core",
            )
        )
    if plan.too_many:
        found.append(
            Finding(
                problem=f"{plan.runners} runners of {plan.threads} threads want more than {plan.limit.cores:g} cores",
                fix=f"unset {PREFIX}THREADS, or lower it or {PREFIX}RUNNERS",
            )
        )
    if not any("vnni" in flag for flag in flags):
        found.append(
            Finding(
                problem="the processor shows no VNNI: graphs with 8-bit weights run at half their speed",
                fix="serve float bundles here, or take a machine with VNNI",
            )
        )
    return found


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> tuple[str, ...]:
    """Give the flags that decide how fast products are, of those that this processor has."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return ()
    have = next((frozenset(line.split()) for line in lines if line.startswith("flags")), _NO_FLAGS)
    return tuple(flag for flag in _FLAGS if flag in have)


def look_at_models(settings: Settings) -> tuple[list[ModelLine], list[Finding]]:
    """Read the newest version of every model that can be read; checksums are compared, graphs are not run."""
    models, found = [], []
    for name in bundle_names(settings.models_dir):
        bundle, problems = _newest_readable(settings.models_dir, name)
        found += problems
        if bundle is not None:
            models.append(_line(bundle, settings.max_preactivation_mib))
    if not models:
        found.append(
            Finding(
                problem=f"{settings.models_dir} holds no bundle that can be read",
                fix=f"publish one with `fulcrum train --out DIR`, or set {PREFIX}MODELS_DIR",
                stops_serving=True,
            )
        )
    return models, found


def _newest_readable(folder: Path, name: str) -> tuple[Bundle | None, list[Finding]]:
    found: list[Finding] = []
    for version in reversed(bundle_versions(folder, name)):
        try:
            return read_bundle(folder / name / str(version)), found
        except ContractError as error:
            found.append(Finding(problem=f"{name} version {version}: {error.detail}", fix=error.fix))
        except OSError as error:
            found.append(Finding(problem=f"{name} version {version}: {error}", fix="make its files readable"))
    return None, found


def _line(bundle: Bundle, most_mib: int) -> ModelLine:
    manifest = bundle.manifest
    items = pq.read_metadata(bundle.items_path).num_rows if bundle.items_path else 0
    an_item = manifest.preactivation.item_bytes if manifest.preactivation else 0
    return ModelLine(
        name=manifest.name,
        version=bundle.version,
        heads=tuple(head.name for head in manifest.heads),
        items=items,
        preactivation_mib=round(min(items * an_item / 2**20, most_mib), 1),
    )


def look_at_memory(models: list[ModelLine], limit_mib: float | None) -> list[Finding]:
    """Hold what the items' shares take against the memory there is."""
    wanted = sum(model.preactivation_mib for model in models)
    if limit_mib is None or wanted < limit_mib / 2:
        return []
    return [
        Finding(
            problem=f"items' shares take {wanted:.0f} MiB of the {limit_mib:.0f} MiB that this process may use",
            fix=f"lower {PREFIX}MAX_PREACTIVATION_MIB, or give the container more memory",
        )
    ]


def look_at_store(settings: Settings) -> list[Finding]:
    """Read the store of revisions; a file that is not there yet is not made, only its folder is looked at."""
    location = settings.fusion_store
    if location == ":memory:":
        return [Finding(problem="fusion changes are forgotten with the process", fix=f"set {PREFIX}FUSION_STORE")]
    if "://" not in location and not Path(location).exists():
        return _place(Path(location))
    try:
        store = open_revision_store(location)
        try:
            store.latest()
        finally:
            store.close()
    except ServiceError as error:
        kept = settings.last_good_file is not None and settings.last_good_file.exists()
        return [Finding(problem=f"the store: {error.detail}", fix=error.fix, stops_serving=not kept)]
    return []


def _place(file: Path) -> list[Finding]:
    folder = next(parent for parent in file.absolute().parents if parent.exists())
    if folder.is_dir() and os.access(folder, os.W_OK):
        return []
    return [
        Finding(
            problem=f"the store {file} cannot be made: {folder} is not writable",
            fix=f"make it writable, or set {PREFIX}FUSION_STORE",
            stops_serving=True,
        )
    ]


def changed_settings(settings: Settings) -> dict[str, str]:
    """Give what differs from its default, by variable; secrets are hidden by their type, passwords of URLs here."""
    return {
        PREFIX + name.upper(): without_password(str(getattr(settings, name)))
        for name, field in Settings.model_fields.items()
        if getattr(settings, name) != field.default
    }


def without_password(location: str) -> str:
    """Hide what stands before the host of a URL."""
    scheme, separator, rest = location.partition("://")
    return f"{scheme}://***@{rest.rpartition('@')[2]}" if separator and "@" in rest else location
