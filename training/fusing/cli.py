"""``fulcrum fuse``: from logged impressions to better weights or a learned fusion, and into the service."""

from pathlib import Path
from typing import Annotated, Literal

import httpx
import typer

from contract.bundle import latest_bundle, read_bundle
from contract.fusion_bundle import Utility, read_fusion
from training.console import DataName, Rows, Seed, console, dataset_named, progress_bar
from training.errors import InvalidOption
from training.fusing.apply import AdminApi, Written, apply_model, apply_weights
from training.fusing.arguments import (
    TOKEN_VARIABLE,
    chosen_weights,
    command_line,
    found_profile,
    parse_bounds,
    parse_pairs,
    read_logs,
    read_search,
    read_token,
)
from training.fusing.fit import FitConfig, FitReport, fit_and_publish
from training.fusing.grid import with_bounds
from training.fusing.judging import Measure, Yardstick
from training.fusing.pictures import draw_search
from training.fusing.profiles import read_profile
from training.fusing.reading import Roles
from training.fusing.score import write_log
from training.fusing.search import SearchConfig, search
from training.fusing.show import show_change, show_comparison, show_search

__all__ = ["apply", "fit", "fuse", "score", "search_weights"]

fuse = typer.Typer(help="Find better weights, or learn the fusion, from logged impressions.", no_args_is_help=True)
_TIMEOUT_S = 30.0
_MEASURES = "ndcg: NDCG@k, where requests count alike; total: the utility of the k best, where they do not."

Log = Annotated[Path, typer.Argument(help="Impressions to fit on: a Parquet file or a folder of them.")]
Later = Annotated[
    Path | None, typer.Option("--evaluate", help="Later impressions to judge on; the end of LOG by default.")
]
Share = Annotated[float, typer.Option("--fit-share", min=0.05, max=0.95, help="Of LOG, where there is no --evaluate.")]
Heads = Annotated[list[str] | None, typer.Option("--head", help="A head of the log; all by default; repeatable.")]
Fields = Annotated[list[str] | None, typer.Option("--field", help="A field of the log; repeatable.")]
Outcomes = Annotated[
    list[str] | None, typer.Option("--outcome", help="A column of outcomes, where the log does not say; repeatable.")
]
Missing = Annotated[
    Literal["zero", "mask"],
    typer.Option(help="An outcome that is not known counts as 0, or its row is left out."),
]
K = Annotated[int, typer.Option("--k", min=1, help="How many places of a ranking count.")]
Profile = Annotated[
    Path | None, typer.Option(help="The current profile: JSON with formula and weights, or the admin API's answer.")
]


@fuse.command()
def score(
    data: DataName,
    out: Annotated[Path, typer.Option(help="Parquet file to write.")],
    models: Annotated[Path, typer.Option(help="Folder of bundles.")] = Path("models"),
    name: Annotated[str | None, typer.Option(help="Model to score with; the data set's name by default.")] = None,
    version: Annotated[int | None, typer.Option(min=1, help="Of the model; the newest by default.")] = None,
    split: Annotated[str, typer.Option(help="validation to fit on, test to judge on.")] = "validation",
    outcome: Annotated[
        list[str] | None, typer.Option(help="COLUMN=LABEL, to name an outcome yourself; repeatable.")
    ] = None,
    rows: Rows = None,
    seed: Seed = 0,
) -> None:
    """Score held-out impressions with a published model and write them, with what came of them, as a log."""
    with dataset_named(data, rows, seed) as dataset:
        chosen = name or dataset.info.name
        bundle = latest_bundle(models, chosen) if version is None else read_bundle(models / chosen / str(version))
        document = write_log(bundle, dataset, split, out, renamed=parse_pairs(outcome))
    console.print(f"heads: {', '.join(document.heads)}; outcomes: {', '.join(document.outcomes)}")
    console.print(f"wrote {out}")


@fuse.command()
def fit(
    log: Log,
    utility: Annotated[str, typer.Option(help="Gain of an impression, such as `click + 0.01 * duration`.")],
    name: Annotated[str, typer.Option(help="Name of the fusion bundle.")],
    out: Annotated[Path, typer.Option(help="Folder of fusion bundles to publish into.")] = Path("fusions"),
    evaluate: Later = None,
    fit_share: Share = 0.7,
    head: Heads = None,
    field: Fields = None,
    outcome: Outcomes = None,
    missing: Missing = "zero",
    measure: Annotated[Measure, typer.Option(help=_MEASURES)] = "ndcg",
    method: Annotated[
        Literal["best", "lambdarank", "listnet"], typer.Option(help="Both are fitted and reported; one is published.")
    ] = "best",
    profile: Profile = None,
    searched: Annotated[
        Path | None, typer.Option("--search", help="Result of `fulcrum fuse search`, to compare with.")
    ] = None,
    point: Annotated[int, typer.Option(min=0, help="Of the search's points.")] = 0,
    k: K = 10,
    allow_leak: Annotated[list[str] | None, typer.Option(help="An input that may give an outcome away.")] = None,
    seed: Seed = 0,
) -> None:
    """Learn a fusion of heads from impressions, judge it on later ones beside formulas, and publish it."""
    earlier, later = read_logs(log, evaluate, fit_share, Roles(head or (), field or (), outcome or ()))
    config = FitConfig(
        name=name,
        utility=Utility(formula=utility, missing=missing),
        heads=tuple(head or ()),
        fields=tuple(field or ()),
        method=method,
        yardstick=Yardstick(measure=measure, k=k),
        seed=seed,
        allow_leaks=tuple(allow_leak or ()),
        command=command_line(),
    )
    found = None if searched is None else found_profile(searched, point)
    with progress_bar() as bar:
        task = bar.add_task("fitting", total=None)
        bundle = fit_and_publish(
            earlier,
            later,
            config,
            out,
            current=None if profile is None else read_profile(profile).profile,
            found=found,
            stage=lambda stage: bar.update(task, description=stage),
        )
    report = FitReport.model_validate(bundle.report())
    show_comparison(report.comparison, console)
    console.print(f"published {report.published} as {bundle.path}; put it into a profile with:")
    console.print(f'  fulcrum fuse apply --bundle {bundle.path} --reason "…"', markup=False)


@fuse.command("search")
def search_weights(
    log: Log,
    profile: Annotated[Path, typer.Option(help="The current profile: JSON, or the admin API's answer.")],
    utility: Annotated[list[str], typer.Option(help="Gain of an impression; two to see what one costs the other.")],
    out: Annotated[Path, typer.Option(help="JSON file to write; a picture of the same name stands beside it.")],
    evaluate: Later = None,
    fit_share: Share = 0.7,
    bounds: Annotated[list[str] | None, typer.Option(help="WEIGHT=LOW:HIGH; repeatable.")] = None,
    measure: Annotated[
        Measure | None, typer.Option(help=f"{_MEASURES} With two utilities the total, else NDCG, by default.")
    ] = None,
    k: K = 10,
    trials: Annotated[int, typer.Option(min=1, help="Weights to try.")] = 200,
    head: Heads = None,
    field: Fields = None,
    outcome: Outcomes = None,
    missing: Missing = "zero",
    seed: Seed = 0,
) -> None:
    """Search a formula's weights for a stated utility, or the front between two."""
    earlier, later = read_logs(log, evaluate, fit_share, Roles(head or (), field or (), outcome or ()))
    if len(utility) > 2:
        raise InvalidOption(f"{len(utility)} utilities cannot be drawn against each other", fix="give one or two")
    current = read_profile(profile)
    bounded = with_bounds(current.profile, parse_bounds(bounds))
    config = SearchConfig(
        utilities=tuple(Utility(formula=each, missing=missing) for each in utility),
        yardstick=Yardstick(measure=measure or ("ndcg" if len(utility) == 1 else "total"), k=k),
        trials=trials,
        seed=seed,
        command=command_line(),
    )
    with progress_bar() as bar:
        task = bar.add_task("searching", total=trials)
        document = search(
            earlier,
            later,
            current.model_copy(update={"profile": bounded}),
            config,
            on_trial=lambda: bar.advance(task),
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(document.model_dump_json(indent=1) + "\n")
    draw_search(document, out.with_suffix(".png"))
    show_search(document, console)
    console.print(f"wrote {out} and {out.with_suffix('.png').name}; write a point into the service with:")
    console.print(f'  fulcrum fuse apply {out} --point 0 --reason "…"', markup=False)


@fuse.command()
def apply(
    searched: Annotated[Path | None, typer.Argument(help="Result of `fulcrum fuse search`.")] = None,
    bundle: Annotated[Path | None, typer.Option(help="Or a fusion bundle, <fusions>/<name>/<version>.")] = None,
    reason: Annotated[str, typer.Option(help="Kept in the profile's history.")] = "",
    point: Annotated[int | None, typer.Option(min=0, help="Of the search's points, as its table numbers them.")] = None,
    profile: Annotated[
        str | None, typer.Option(help="Profile in the service; the searched one, else `default`.")
    ] = None,
    url: Annotated[str, typer.Option(help="The running server.")] = "http://127.0.0.1:8000",
    token_file: Annotated[Path | None, typer.Option(help=f"File of the token; ${TOKEN_VARIABLE} by default.")] = None,
) -> None:
    """Write a found point, or a learned fusion, as a new revision; somebody else's change is never overwritten."""
    if (searched is None) == (bundle is None):
        raise InvalidOption("nothing to apply, or two things", fix="name a search's result, or a --bundle")
    token = read_token(token_file)
    with admin_client(url) as client:
        if bundle is not None:
            learned = read_fusion(bundle)
            api = AdminApi(client, token, profile or "default")
            _tell(apply_model(api, learned.manifest.name, learned.version, reason))
            return
        document = read_search(searched or Path())
        api = AdminApi(client, token, profile or document.current.name or "default")
        weights = chosen_weights(document, point)
        before, written = apply_weights(api, document.current, weights, reason)
    show_change(before.weight_values(), weights, console)
    _tell(written)


def admin_client(url: str) -> httpx.Client:
    """Open a connection to the service."""
    return httpx.Client(base_url=url, timeout=_TIMEOUT_S)


def _tell(written: Written) -> None:
    console.print(f"the profile {written.profile!r} is at revision {written.revision}")
