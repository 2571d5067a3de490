"""The doctor's report for a terminal."""

from rich.console import Console
from rich.markup import escape

from service.doctor.report import Report

__all__ = ["show"]


def show(report: Report, console: Console) -> None:
    """Print a line a subject, then what should be mended."""
    for subject, line in _lines(report):
        console.print(f"[bold]{subject:<10}[/] {escape(line)}", highlight=False, soft_wrap=True)
    for finding in report.findings:
        mark = "[red]✗ stops serving:[/]" if finding.stops_serving else "[yellow]![/]"
        console.print(f"{mark} {escape(finding.problem)}\n  {escape(finding.fix)}", highlight=False, soft_wrap=True)
    if report.serves:
        console.print("[green]✓[/] it can serve here")


def _lines(report: Report) -> list[tuple[str, str]]:
    plan, host = report.plan, report.host
    limit = "no limit" if host.memory_limit_mib is None else f"{host.memory_limit_mib:.0f} MiB"
    models = [
        f"{each.name} version {each.version}: {', '.join(each.heads)}; {each.items} items,"
        f" {each.preactivation_mib:g} MiB for their shares"
        for each in report.models
    ]
    return [
        ("cores", f"{report.cores.usable:g}, by {report.cores.source}"),
        (
            "plan",
            f"{plan.runners} × {plan.threads_a_call} threads a model, {plan.decode_threads} to decode large bodies",
        ),
        ("memory", limit),
        ("runtime", f"ONNX Runtime {host.onnxruntime}; {' '.join(host.cpu_flags) or 'no known flags'}"),
        *(("model", line) for line in models),
        ("store", f"{report.store}, {'reachable' if report.store_reachable else 'not usable'}"),
        ("admin", "open to who holds a token" if report.admin_open else "closed"),
        *(("setting", f"{name}={value}") for name, value in report.settings.items()),
    ]
