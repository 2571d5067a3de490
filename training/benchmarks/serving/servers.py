"""Servers as processes of their own: started for their turn, stopped after it, so that none loads the machine idly."""

import asyncio
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from training.benchmarks.serving.wire import LOOPBACK, Answer, Connection
from training.errors import TrainingError

__all__ = ["ServerSpec", "ServerUnusable", "answer_of", "free_port", "running"]


class ServerUnusable(TrainingError):
    """A server did not start, did not answer, or its port is taken."""

    code = "server_unusable"


@dataclass(frozen=True, kw_only=True)
class ServerSpec:
    """How to start a server.

    Args:
        command: Program and arguments.
        folder: Working directory.
        environment: Variables beside our own.
    """

    name: str
    command: tuple[str, ...]
    port: int
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def running(
    server: ServerSpec, probe: bytes, *, log: Path, within_s: float = 60.0, port_within_s: float = 10.0
) -> Iterator[Answer]:
    """Start a server, give its first 200 to *probe*, and stop it and its children in the end.

    Raises:
        ServerUnusable: When its port is taken, or no such answer came in time.
    """
    if not _gets_free(server.port, port_within_s):
        raise ServerUnusable(f"port {server.port} of {server.name} is taken", fix="stop who listens there")
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - commands are ours
            server.command,
            cwd=server.folder,
            env=os.environ | server.environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield _first_answer(server, process, probe, log, within_s)
        finally:
            _stop(process)


def free_port() -> int:
    """Give a port that the kernel has free now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def answer_of(port: int, request: bytes, timeout_s: float = 20.0) -> Answer:
    """Ask once over a connection of its own.

    Raises:
        OSError: When nobody listens, or no answer comes in time.
    """

    async def once() -> Answer:
        async with asyncio.timeout(timeout_s):
            connection = await Connection.open(port)
            try:
                return await connection.ask(request)
            finally:
                connection.close()

    return asyncio.run(once())


def _gets_free(port: int, within_s: float) -> bool:
    """Wait for a server's last child to let go of the port."""
    end = time.monotonic() + within_s
    while _listens(port):
        if time.monotonic() >= end:
            return False
        time.sleep(0.1)
    return True


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((LOOPBACK, port)) == 0


def _first_answer(
    server: ServerSpec, process: subprocess.Popen[bytes], probe: bytes, log: Path, within_s: float
) -> Answer:
    end = time.monotonic() + within_s
    last = "no connection"
    while time.monotonic() < end:
        if process.poll() is not None:
            raise ServerUnusable(f"{server.name} ended with {process.returncode} at its start", fix=f"read {log}")
        try:
            answer = answer_of(server.port, probe)
        except OSError:
            time.sleep(0.2)
            continue
        if answer.status == 200:
            return answer
        last = f"status {answer.status}: {answer.body[:200]!r}"
        time.sleep(0.2)
    raise ServerUnusable(f"{server.name} gave no 200 in {within_s:.0f} s ({last})", fix=f"read {log}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the session that we started: first by asking, then by force."""
    for kind in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, kind)
        except ProcessLookupError:
            break
        try:
            process.wait(5.0)
        except subprocess.TimeoutExpired:
            continue
    process.wait()
