"""Puts the doctor's looks together."""

from pathlib import Path

import onnxruntime as ort

from service.app import admin_tokens
from service.doctor.checks import (
    changed_settings,
    cpu_flags,
    look_at_memory,
    look_at_models,
    look_at_plan,
    look_at_store,
    without_password,
)
from service.doctor.report import Cores, Finding, Host, Plan, Report
from service.runtime.threads import core_limit, memory_limit, plan_threads
from service.settings import PREFIX, Settings
from service.tokens import TokenFileError

__all__ = ["examine"]


def examine(
    settings: Settings,
    *,
    cgroup: Path = Path("/sys/fs/cgroup"),
    cpuinfo: Path = Path("/proc/cpuinfo"),
    affinity: int | None = None,
) -> Report:
    """Look at everything that serving needs; no graph is loaded, and a store that is not there is not made."""
    plan = plan_threads(core_limit(cgroup, affinity=affinity), runners=settings.runners, threads=settings.threads)
    flags, memory = cpu_flags(cpuinfo), memory_limit(cgroup)
    host = Host(
        onnxruntime=ort.__version__, cpu_flags=flags, memory_limit_mib=None if memory is None else memory / 2**20
    )
    models, of_models = look_at_models(settings)
    of_store = look_at_store(settings)
    is_open, of_tokens = _admin(settings)
    return Report(
        cores=Cores(usable=plan.limit.cores, source=plan.limit.source),
        plan=Plan(runners=plan.runners, threads_a_call=plan.threads, decode_threads=plan.decode_threads),
        host=host,
        models=tuple(models),
        store=without_password(settings.fusion_store),
        store_reachable=settings.fusion_store == ":memory:" or not of_store,
        admin_open=is_open,
        settings=changed_settings(settings),
        findings=(
            *look_at_plan(plan, flags),
            *look_at_memory(models, host.memory_limit_mib),
            *of_models,
            *of_store,
            *of_tokens,
        ),
    )


def _admin(settings: Settings) -> tuple[bool, list[Finding]]:
    try:
        is_open = bool(admin_tokens(settings))
    except TokenFileError as error:
        return False, [Finding(problem=str(error), fix="make entries with `fulcrum token`", stops_serving=True)]
    closed = Finding(
        problem="the admin API is closed: no fusion can be changed",
        fix=f"set {PREFIX}ADMIN_TOKEN, or {PREFIX}ADMIN_TOKENS_FILE with entries from `fulcrum token`",
    )
    return is_open, [] if is_open else [closed]
