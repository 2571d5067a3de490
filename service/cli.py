"""The service's commands. ``fulcrum`` mounts them; ``python -m service.cli`` runs them alone."""

import asyncio
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn

import httpx
import orjson
import typer
import uvicorn
from fastapi import FastAPI
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from contract.bundle import bundle_names, latest_bundle
from contract.errors import ContractError
from service.app import create_app
from service.components import Components, build_components, load_bundle, thread_plan
from service.doctor.examine import examine
from service.doctor.show import show
from service.errors import ServiceError
from service.settings import PREFIX, Settings, UnknownSetting, refuse_unknown_variables
from service.telemetry.logging import configure_logging, get_logger
from service.tokens import TokenFileError, add_token

__all__ = ["app", "check", "doctor", "rank", "serve", "token"]

app = typer.Typer(help="Serve models, rank with them, check them.", no_args_is_help=True)
_console = Console()
_errors = Console(stderr=True)
_DRAIN_S = 20

Models = Annotated[Path | None, typer.Option("--models", help="Folder of bundles.")]


@app.command()
def serve(
    models: Models = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    fusion_store: Annotated[str | None, typer.Option(help="SQLite file, Valkey URL, or :memory:.")] = None,
) -> None:
    """Serve the models of a folder until stopped."""
    settings = _settings(models_dir=models, host=host, port=port, fusion_store=fusion_store)
    configure_logging(settings.log_level)
    _log_plan(settings)
    parts, app_of_parts = _joined(settings)
    server = _Server(
        uvicorn.Config(
            app_of_parts,
            host=settings.host,
            port=settings.port,
            loop="uvloop",
            http="httptools",
            lifespan="on",
            access_log=False,
            log_level="warning",
            timeout_graceful_shutdown=_DRAIN_S,
        ),
        on_stop=parts.lifecycle.drain,
    )
    server.run()
    if not server.started:
        raise typer.Exit(1)


@app.command()
def rank(
    body: Annotated[str | None, typer.Argument(help="File with a body for /v1/rank, or - for stdin.")] = None,
    url: Annotated[str, typer.Option(help="Where the service listens.")] = "http://127.0.0.1:8000",
    model: Annotated[str | None, typer.Option(help="Model whose example is sent when no body is.")] = None,
    example: Annotated[bool, typer.Option("--example", help="Only show the example body.")] = False,
) -> None:
    """Rank once and show the result; without a body, the model's own example."""
    with httpx.Client(base_url=url, timeout=30.0) as client:
        try:
            content = orjson.dumps(_example(client, model)) if body is None else _read(body)
            if example:
                _console.print_json(content.decode())
                return
            answer = _checked(client.post("/v1/rank", content=content, headers={"Content-Type": "application/json"}))
        except httpx.TransportError as error:
            _fail(f"{url} does not answer: {error}", fix="start it with `fulcrum serve`, or name its --url")
    _console.print(_table(answer))


@app.command()
def check(models: Models = None) -> None:
    """Verify the settings and every newest bundle: checksums, graph, golden rows."""
    settings = _settings(models_dir=models)
    parts = _parts(settings)
    names = bundle_names(settings.models_dir)
    failures = 0
    for name in names:
        try:
            bundle = latest_bundle(settings.models_dir, name)
            loaded = load_bundle(settings, parts.metrics, bundle, threads=1)
        except (ServiceError, ContractError) as error:
            failures += 1
            _errors.print(f"[red]✗[/] {name}: {escape(error.detail)}\n  {escape(error.fix)}")
        else:
            _console.print(f"[green]✓[/] {name} version {bundle.version}: golden rows agree")
            asyncio.run(loaded.aclose())
    if not names:
        _fail(f"{settings.models_dir} holds no bundle", fix="publish one with `fulcrum train --out DIR`")
    if failures:
        raise typer.Exit(1)


@app.command()
def doctor(
    models: Models = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document, for machines.")] = False,
) -> None:
    """Say on what it would serve here, and what should be mended; ends with 1 when something stops serving."""
    report = examine(_settings(models_dir=models))
    if as_json:
        sys.stdout.write(report.model_dump_json(indent=2) + "\n")
    else:
        show(report, _console)
    if not report.serves:
        raise typer.Exit(1)


@app.command()
def token(
    name: Annotated[str, typer.Argument(help="Of who will hold it; stands beside each change.")],
    scope: Annotated[list[str], typer.Option(help="read, fusion or model; may be given more than once.")],
    file: Annotated[Path, typer.Option(help="File of tokens to add it to; made when it is not there.")],
) -> None:
    """Make an admin token: it is shown once, and the file keeps its digest alone."""
    secret = secrets.token_urlsafe(32)
    try:
        add_token(file, name=name, secret=secret, scopes=scope)
    except TokenFileError as error:
        _fail(str(error), fix="use another name, or another file; scopes are read, fusion and model")
    _console.print(f"{secret}", highlight=False)
    _errors.print(f"{escape(name)} may {', '.join(sorted(scope))}; set FULCRUM_ADMIN_TOKENS_FILE={file} and restart")


def _log_plan(settings: Settings) -> None:
    plan = thread_plan(settings)
    get_logger().info(
        "thread_plan",
        cores=plan.limit.cores,
        limited_by=plan.limit.source,
        runners=plan.runners,
        threads=plan.threads,
        decode_threads=plan.decode_threads,
    )


def _parts(settings: Settings) -> Components:
    """Build the parts; a location that cannot be read is a sentence, not a traceback."""
    try:
        return build_components(settings)
    except (ServiceError, ContractError) as error:
        _fail(error.detail, fix=error.fix)


def _joined(settings: Settings) -> tuple[Components, FastAPI]:
    parts = _parts(settings)
    try:
        return parts, create_app(settings, parts)
    except TokenFileError as error:
        _fail(str(error), fix="make entries with `fulcrum token`")


class _Server(uvicorn.Server):
    """Says where it listens and how to try it; turns readiness red as soon as it is told to stop."""

    def __init__(self, config: uvicorn.Config, *, on_stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_stop = on_stop

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._on_stop()
        super().handle_exit(sig, frame)

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets=sockets)
        if not self.started:
            return
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        base = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        _console.print(f"Fulcrum listens on {base}", soft_wrap=True)
        _console.print(
            f"Try it: curl -s {base}/v1/models, then curl -s {base}/v1/models/NAME/example"
            f" | curl -s {base}/v1/rank -d @-",
            soft_wrap=True,
        )


def _settings(**given: Any) -> Settings:
    """Read the environment; options of the command line win."""
    try:
        refuse_unknown_variables()
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except UnknownSetting as error:
        _fail(str(error), fix="mend or unset the variable")
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        name = "_".join(str(part) for part in first["loc"]).upper()
        _fail(f"{PREFIX}{name}: {first['msg']}", fix="mend the variable or the option of that name")


def _example(client: httpx.Client, model: str | None) -> dict[str, Any]:
    if model is None:
        served = _checked(client.get("/v1/models"))["models"]
        if not served:
            _fail("no model is served", fix="publish a bundle into the models folder")
        model = served[0]["name"]
    return _checked(client.get(f"/v1/models/{model}/example"))


def _read(body: str) -> bytes:
    if body == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(body).read_bytes()
    except OSError as error:
        _fail(f"{body} cannot be read: {error.strerror}", fix="name a file with a JSON body, or - for stdin")


def _checked(response: httpx.Response) -> dict[str, Any]:
    document: dict[str, Any] = orjson.loads(response.content)
    if response.is_error:
        where = f" at {document['path']}" if document.get("path") else ""
        _fail(f"{document['code']}{where}: {document['detail']}", fix=document["fix"])
    return document


def _table(answer: dict[str, Any]) -> Table:
    heads = list(answer["results"][0].get("heads") or {})
    fusion, model = answer["fusion"], answer["model"]
    table = Table(
        title=f"{model['name']} version {model['version']}, {fusion['profile']} revision {fusion['revision']}",
        caption=f"{sum(answer['timings_ms'].values()):.2f} ms in the service",
    )
    for column in ("rank", "item_id", "score", *heads):
        table.add_column(column, justify="left" if column == "item_id" else "right")
    for row in answer["results"]:
        numbers = [row["score"], *((row.get("heads") or {}).get(head) for head in heads)]
        cells = ["–" if number is None else f"{number:.4g}" for number in numbers]
        table.add_row(str(row["rank"]), escape(str(row["item_id"])), *cells)
    return table


def _fail(what: str, *, fix: str) -> NoReturn:
    _errors.print(f"[red]error:[/] {escape(what)}\n{escape(fix)}", soft_wrap=True)
    raise typer.Exit(1)


if __name__ == "__main__":
    app()
