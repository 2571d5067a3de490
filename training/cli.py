"""The offline commands: data, train, evaluate, export, replay."""

import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

import training.balancing
import training.models
from contract.bundle import Bundle, latest_bundle, read_bundle
from training import pipeline
from training.balancing.base import balancers
from training.catalogue import describe, show_architecture, show_architectures
from training.checkpoint import load_checkpoint
from training.comparing.compare import REFERENCE, Plan, compare, named_architectures, write_report
from training.config import OptimConfig, TrainConfig
from training.console import DataName, Rows, Seed, console, dataset_named, prepared, progress_bar
from training.data.fetch import PUBLIC_SETS
from training.data.sources import SOURCES, fetch_raw
from training.models.base import ModelConfig
from training.models.registry import architectures
from training.objectives import DEBIASINGS, OBJECTIVES, debias_named, make_objective
from training.options import parse_options, parse_weights
from training.replay import replay as replay_dataset

__all__ = ["data", "evaluate", "export", "models", "replay", "report", "train"]

data = typer.Typer(help="Fetch public data sets and prepare them.", no_args_is_help=True)
_ = training.models, training.balancing  # filled the registries
_RAW = Path("data/raw")
_LOOKS = 20
"""Batches an epoch on which a report measures whether gradients agree."""

Models = Annotated[Path, typer.Option("--models", help="Folder of bundles.")]


@data.command()
def fetch(
    name: Annotated[str, typer.Argument(help=f"One of: {', '.join(PUBLIC_SETS)}.")],
    out: Annotated[Path, typer.Option(help="Folder to keep raw files in.")] = _RAW,
) -> None:
    """Download a public set from its official address, resume where it broke off, verify it and unpack it."""
    with progress_bar() as bar:
        task = bar.add_task(name, total=None)
        folder = fetch_raw(name, out, progress=lambda n, total: bar.update(task, completed=n, total=total))
    public = PUBLIC_SETS[name]
    if public.digest is None:
        console.print("its owner publishes no checksum: the first download was trusted and its sha256 kept beside it")
    where = "" if out == _RAW else f"FULCRUM_DATA={out} "
    console.print(f"{folder} is verified and unpacked; train on it with: {where}fulcrum train --data {public.source}")


@data.command()
def prepare(
    name: Annotated[str, typer.Argument(help=f"One of: {', '.join(SOURCES)}.")],
    out: Annotated[Path, typer.Option(help="Folder to write the prepared dataset to.")],
    rows: Rows = None,
    seed: Seed = 0,
) -> None:
    """Prepare a data set: one row a request, split by time, features known before each impression."""
    with progress_bar() as bar:
        dataset = prepared(name, out, rows, seed, bar)
    for split, size in dataset.info.splits.items():
        console.print(f"{split}: {size.requests:,} lists, {size.rows:,} impressions")


def train(
    data: DataName = "simulator",
    arch: Annotated[str, typer.Option(help="Architecture; see `fulcrum models`.")] = "mmoe",
    out: Annotated[Path, typer.Option(help="Models folder to publish into.")] = Path("models"),
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the data at most.")] = 5,
    rows: Rows = None,
    seed: Seed = 0,
    name: Annotated[str | None, typer.Option(help="Name of the model; the data set's by default.")] = None,
    learning_rate: Annotated[float, typer.Option(help="Of AdamW.")] = 1e-3,
    batch_requests: Annotated[int, typer.Option(min=1, help="Lists a step.")] = 128,
    embedding_dim: Annotated[int, typer.Option(min=1, help="Width of an id's vector.")] = 16,
    option: Annotated[list[str] | None, typer.Option(help="NAME=VALUE of the architecture; repeatable.")] = None,
    num_experts: Annotated[int, typer.Option(min=1, help="Experts, where the architecture has them.")] = 4,
    dropout: Annotated[float, typer.Option(min=0, max=0.9, help="Of hidden units.")] = 0.1,
    balancer: Annotated[str, typer.Option(help=f"How losses become one step: {', '.join(balancers())}.")] = "static",
    balancer_option: Annotated[list[str] | None, typer.Option(help="NAME=VALUE of the balancer; repeatable.")] = None,
    task_weight: Annotated[list[str] | None, typer.Option(help="TASK=FACTOR of its loss; repeatable.")] = None,
    probe_gradients: Annotated[
        int, typer.Option(min=0, help="Batches an epoch on which the agreement of the tasks' gradients is measured.")
    ] = 0,
    averaging: Annotated[
        float, typer.Option(min=0, max=0.9999, help="Decay of a moving average of the weights.")
    ] = 0.0,
    objective: Annotated[str, typer.Option(help=f"Of durations: {', '.join(OBJECTIVES)}.")] = "log_mse",
    objective_option: Annotated[list[str] | None, typer.Option(help="Of the objective: name=value.")] = None,
    debias: Annotated[
        str | None, typer.Option(help=f"{', '.join(DEBIASINGS)}; the objective's own by default.")
    ] = None,
    max_seconds: Annotated[float | None, typer.Option(min=1, help="Cap of durations in training.")] = None,
    allow_leak: Annotated[list[str] | None, typer.Option(help="A field that may give a label away.")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="File to keep the trained model in, for export.")] = None,
) -> None:
    """Train a ranker and publish it as the next version of its model, ready to serve."""
    config = TrainConfig(
        data=data,
        arch=arch,
        epochs=epochs,
        rows=rows,
        seed=seed,
        model=ModelConfig(
            embedding_dim=embedding_dim,
            num_experts=num_experts,
            dropout=dropout,
            options=parse_options(option or ()),
        ),
        optim=OptimConfig(learning_rate=learning_rate, batch_requests=batch_requests, averaging=averaging),
        task_weights=parse_weights(task_weight or ()),
        balancer=balancer,
        balancer_options=parse_options(balancer_option or ()),
        probe_gradients=probe_gradients,
        objective=make_objective(objective, parse_options(objective_option or ())),
        debias=debias_named(debias),
        max_seconds=max_seconds,
        allow_leaks=tuple(allow_leak or ()),
    )
    with dataset_named(data, rows, seed) as dataset, progress_bar() as bar:
        bundle = pipeline.train_and_publish(
            dataset, config, out, name=name or dataset.info.name, progress=_stages(bar), checkpoint=checkpoint
        )
    show_report(bundle.report())
    console.print(f"published {bundle.path}; serve it with: fulcrum serve --models {out}")


def export(
    checkpoint: Annotated[Path, typer.Argument(help="File that `fulcrum train --checkpoint` wrote.")],
    data: DataName,
    out: Annotated[Path, typer.Option(help="Models folder to publish into.")] = Path("models"),
    name: Annotated[str | None, typer.Option(help="Name of the model; the data set's by default.")] = None,
    rows: Rows = None,
    seed: Seed = 0,
) -> None:
    """Export a trained model again: ONNX graph, parity with torch, golden rows, report, published by rename."""
    trained = load_checkpoint(checkpoint)
    with dataset_named(data, rows, seed) as dataset:
        bundle = pipeline.export_checkpoint(trained, dataset, out, name=name or dataset.info.name)
    show_report(bundle.report())
    console.print(f"published {bundle.path}; serve it with: fulcrum serve --models {out}")


def evaluate(
    data: DataName,
    bundle: Annotated[Path, typer.Option(help="Bundle folder, <models>/<name>/<version>.")],
    split: Annotated[str, typer.Option(help="Split to report on.")] = "test",
    rows: Rows = None,
    seed: Seed = 0,
) -> None:
    """Report a published bundle on a split; prints the report as JSON."""
    with dataset_named(data, rows, seed) as dataset:
        report = pipeline.evaluate_bundle(read_bundle(bundle), dataset, split=split)
    show_report(report)
    typer.echo(json.dumps(pipeline.without_nan(report)))


def replay(
    data: DataName,
    url: Annotated[str, typer.Option(help="The running server.")] = "http://127.0.0.1:8000",
    model: Annotated[str | None, typer.Option(help="Model to ask; the only one by default.")] = None,
    models: Models = Path("models"),
    profile: Annotated[str, typer.Option(help="Fusion profile to ask for.")] = "default",
    split: Annotated[str, typer.Option(help="Split to send.")] = "test",
    rows: Rows = None,
    seed: Seed = 0,
) -> None:
    """Send held-out impressions through a running server; report what it answered beside the offline report."""
    served = httpx.get(f"{url}/v1/models", timeout=10).raise_for_status().json()["models"]
    chosen = model or served[0]["name"]
    bundle = latest_bundle(models, chosen)
    with dataset_named(data, rows, seed) as dataset, progress_bar() as bar:
        total = dataset.info.splits[split].requests
        task = bar.add_task("replaying", total=total)
        replayed = replay_dataset(
            dataset,
            url,
            model=chosen,
            profile=profile,
            split=split,
            tasks=bundle.manifest.tasks,
            on_request=lambda: bar.advance(task),
        )
    show_difference(replayed.report, bundle)
    typer.echo(json.dumps(pipeline.without_nan(vars(replayed))))


def report(
    data: DataName = "simulator",
    archs: Annotated[
        str, typer.Option(help="Architectures to compare, by commas; single-task networks come on top.")
    ] = "shared_bottom,mmoe,ple",
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each; three and more tell differences from noise.")] = 3,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the data at most.")] = 5,
    rows: Rows = None,
    out: Annotated[Path, typer.Option(help="Folder for report.md, report.json and the pictures.")] = Path("report"),
    dense_parameters: Annotated[
        int | None, typer.Option(min=1, help="Size of every network; that of the middle architecture by default.")
    ] = None,
    learning_rate: Annotated[float, typer.Option(help="Of AdamW.")] = 1e-3,
    batch_requests: Annotated[int, typer.Option(min=1, help="Lists a step.")] = 128,
    embedding_dim: Annotated[int, typer.Option(min=1, help="Width of an id's vector.")] = 16,
    num_experts: Annotated[int, typer.Option(min=1, help="Experts, where the architecture has them.")] = 4,
    dropout: Annotated[float, typer.Option(min=0, max=0.9, help="Of hidden units.")] = 0.1,
    averaging: Annotated[
        float, typer.Option(min=0, max=0.9999, help="Decay of a moving average of the weights.")
    ] = 0.0,
    objective: Annotated[str, typer.Option(help=f"Of durations: {', '.join(OBJECTIVES)}.")] = "log_mse",
    objective_option: Annotated[list[str] | None, typer.Option(help="Of the objective: name=value.")] = None,
    debias: Annotated[
        str | None, typer.Option(help=f"{', '.join(DEBIASINGS)}; the objective's own by default.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Runs at once; one a core, at most four, by default.")
    ] = None,
) -> None:
    """Compare architectures at one size: gains over single-task networks, relations, gates, and what follows."""
    plan = Plan(
        base=TrainConfig(
            data=data,
            arch=REFERENCE,
            epochs=epochs,
            rows=rows,
            model=ModelConfig(embedding_dim=embedding_dim, num_experts=num_experts, dropout=dropout),
            optim=OptimConfig(learning_rate=learning_rate, batch_requests=batch_requests, averaging=averaging),
            objective=make_objective(objective, parse_options(objective_option or ())),
            debias=debias_named(debias),
            probe_gradients=_LOOKS,
        ),
        architectures=named_architectures(archs),
        seeds=tuple(range(seeds)),
        dense_parameters=dense_parameters,
        workers=workers or min(4, os.cpu_count() or 1),
        command=f"fulcrum {shlex.join(sys.argv[1:])}",
    )
    with dataset_named(data, rows, 0) as dataset, progress_bar() as bar:
        task = bar.add_task("runs", total=plan.total_runs(len(dataset.info.labels)))
        comparison = compare(
            dataset,
            plan,
            on_stage=lambda stage: bar.update(task, description=stage),
            on_run=lambda run: bar.advance(task),
        )
        bar.update(task, description="trained", total=bar.tasks[-1].completed)
    write_report(comparison, out)
    for advice in comparison.advice:
        console.print(f"- {advice.text}", markup=False)
    console.print(f"read {out / 'report.md'}")


def models(
    name: Annotated[str | None, typer.Argument(help="One architecture, with its options; all by default.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """List the architectures that can be trained, and what each costs beside a shared-bottom."""
    found = [describe(each) for each in ([name] if name else architectures())]
    if as_json:
        shown = [entry.model_dump(mode="json") for entry in found]
        typer.echo(json.dumps(shown[0] if name else shown))
    elif name:
        show_architecture(found[0], Console())
    else:
        show_architectures(found, Console())


def show_report(report: dict[str, Any]) -> None:
    """Print the numbers that a person looks at first."""
    table = Table("head", "metric", "value")
    for name, values in numbers_of(report):
        head, _, metric = name.partition(".")
        table.add_row(head, metric, f"{values:.4f}")
    console.print(table)


def show_difference(report: dict[str, Any], bundle: Bundle) -> None:
    """Print online numbers beside the bundle's offline ones."""
    offline = dict(numbers_of(bundle.report()))
    table = Table("metric", "over HTTP", "offline", "difference")
    for name, value in numbers_of(report):
        if name in offline:
            table.add_row(name, f"{value:.6f}", f"{offline[name]:.6f}", f"{value - offline[name]:.1e}")
    console.print(table)


def numbers_of(report: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Give every number of the heads, the fused ranking and the baselines, by dotted name."""
    groups = {**report["heads"], "fused": report["fused"]}
    groups |= {f"baseline {name}": values for name, values in report.get("baselines", {}).items()}
    for group, values in groups.items():
        for metric, value in values.items():
            if isinstance(value, float):
                yield f"{group}.{metric}", value


def _stages(bar: Progress) -> pipeline.Progress:
    tasks: list[Any] = []

    def stage(name: str, rows: int) -> None:
        for task in tasks:
            bar.stop_task(task)
        tasks.append(bar.add_task(name, total=rows or None))

    advance: Callable[[int], None] = lambda rows: bar.advance(tasks[-1], rows)  # noqa: E731
    return pipeline.Progress(stage=stage, advance=advance)
