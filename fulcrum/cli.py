"""The ``fulcrum`` command. Both halves mount their commands here; neither imports the other.

The serving install has no torch: offline commands then say what to install instead of failing to import.
"""

import importlib.util
import sys

import typer
from rich.console import Console

from contract.errors import ContractError

__all__ = ["build", "main"]

_OFFLINE = ("train", "evaluate", "export", "replay", "report", "models")


def build() -> typer.Typer:
    """Put the command together from what is installed."""
    app = typer.Typer(
        name="fulcrum",
        help="Train multi-task rankers, serve them, and change how their heads are fused.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
    )
    if _installed("fastapi"):
        from service.cli import check, doctor, rank, serve, token

        for command in (serve, rank, check, doctor, token):
            app.command()(command)
    if _installed("torch"):
        from training import cli as offline
        from training.benchmarks.cli import bench
        from training.fusing.cli import fuse

        app.add_typer(offline.data, name="data")
        app.add_typer(fuse, name="fuse")
        app.add_typer(bench, name="bench")
        for name in _OFFLINE:
            app.command(name)(getattr(offline, name))
    else:
        for name in ("data", "fuse", "bench", *_OFFLINE):
            app.command(name, context_settings=_ANYTHING)(_not_installed)
    return app


_ANYTHING = {"allow_extra_args": True, "ignore_unknown_options": True}


def _not_installed() -> None:
    """Needs the training install: pip install torch==2.13.0 -r requirements/train.txt."""
    Console(stderr=True).print("this command needs torch: pip install -r requirements/train.txt")
    raise typer.Exit(2)


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def main() -> None:
    """Run the command; errors of the house are one sentence, not a traceback."""
    try:
        build()()
    except ContractError as error:
        _fail(error.code, f"{error.detail}; {error.fix}" if error.fix else error.detail)
    except Exception as error:
        code = getattr(error, "code", None)
        if not isinstance(code, str):
            raise
        _fail(code, str(error))


def _fail(code: str, sentence: str) -> None:
    Console(stderr=True).print(f"[bold red]{code}[/]: {sentence}", highlight=False)
    sys.exit(1)
