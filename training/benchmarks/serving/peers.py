"""The peers: their environments in a cache folder, the model that both sides serve, and how each is started.

Environments are those of ``shared/peers/setup.sh``, made one by one: one that cannot be had is left out with the reason
and stops no other.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from training.benchmarks.serving.servers import ServerSpec
from training.benchmarks.serving.workloads import PeerBody
from training.errors import TrainingError

__all__ = ["PEERS", "Peer", "PeersMissing", "prepare_model", "set_up"]

_SETUP_S, _MODEL_S = 900.0, 600.0


class PeersMissing(TrainingError):
    """The harness is not there, or its model cannot be made: there is nothing to compare with."""

    code = "peers_missing"


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One other server of the same graph.

    Args:
        packages: What ``setup.sh`` installs for it, beside ONNX Runtime and NumPy.
        program: Name in its environment, and arguments.
        port: That its script or our arguments set.
        path: Of its route.
    """

    name: str
    packages: tuple[str, ...]
    program: tuple[str, ...]
    port: int
    path: str
    body: PeerBody = "plain"
    python: str = "python3"

    def spec(self, cache: Path, harness: Path) -> ServerSpec:
        """Give how it is started from its environment."""
        servers = harness / "servers"
        binaries = cache / self.name / "bin"
        path = f"{binaries}{os.pathsep}{os.environ.get('PATH', '')}"  # bentoml starts helpers by name
        return ServerSpec(
            name=self.name,
            command=(str(binaries / self.program[0]), *self.program[1:]),
            port=self.port,
            folder=servers,
            environment={
                "PEERS_DIR": str(cache),
                "PEERS_SRC": str(servers),
                "PYTHONPATH": str(servers),
                "PYTHONDONTWRITEBYTECODE": "1",
                "PATH": path,
            },
        )


PEERS = {
    peer.name: peer
    for peer in (
        Peer(
            name="fastapi",
            packages=("fastapi", "uvicorn[standard]"),
            program=("uvicorn", "fastapi_app:app", "--port", "9001", "--log-level", "warning"),
            port=9001,
            path="/rank",
        ),
        Peer(name="litserve", packages=("litserve",), program=("python", "litserve_app.py"), port=9002, path="/rank"),
        Peer(
            name="bentoml",
            packages=("bentoml",),
            program=("bentoml", "serve", "bento_app:Ranker", "--port", "9003"),
            port=9003,
            path="/rank",
        ),
        Peer(
            name="mosec",
            packages=("mosec",),
            program=("python", "mosec_app.py", "--port", "9004"),
            port=9004,
            path="/inference",
        ),
        Peer(
            name="mlserver",
            packages=("mlserver",),
            program=("mlserver", "start", "mlserver"),
            port=9005,
            path="/v2/models/rank/infer",
            body="v2",
        ),
        Peer(
            name="pytriton",
            packages=("nvidia-pytriton",),
            program=("python", "pytriton_app.py"),
            port=9010,
            path="/v2/models/rank/infer",
            body="v2",
            python="/usr/bin/python3",
        ),
    )
}

Run = Callable[[list[str], float], None]


def run_quietly(command: list[str], timeout_s: float) -> None:
    """Run a command to its end.

    Raises:
        PeersMissing: With the last line that it wrote, when it fails or takes too long.
    """
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=timeout_s)  # noqa: S603
    except subprocess.CalledProcessError as error:
        lines = (error.stderr or error.stdout or "").strip().splitlines() or [f"it ended with {error.returncode}"]
        raise PeersMissing(f"{Path(command[0]).name} failed: {lines[-1][:200]}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeersMissing(f"{Path(command[0]).name} failed: {error}"[:200]) from error


def set_up(peers: Iterable[Peer], cache: Path, run: Run = run_quietly) -> tuple[list[Peer], dict[str, str]]:
    """Make the environments that are not there yet; give the usable peers, and why the others are left out."""
    usable: list[Peer] = []
    left_out: dict[str, str] = {}
    for peer in peers:
        try:
            _environment(peer, cache / peer.name, run)
        except PeersMissing as error:
            left_out[peer.name] = error.detail
        else:
            usable.append(peer)
    return usable, left_out


def _environment(peer: Peer, folder: Path, run: Run) -> None:
    done = folder / ".installed"
    if done.exists():
        return
    run([peer.python, "-m", "venv", str(folder)], _SETUP_S)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run([*pip, *peer.packages, "onnxruntime", "numpy"], _SETUP_S)
    done.touch()


def prepare_model(harness: Path, cache: Path, models: Path) -> None:
    """Make the naive graph and our two bundles of its weights, unless they are there.

    Raises:
        PeersMissing: When the harness is not there, or a step fails.
    """
    script = harness / "make_model.py"
    if not script.exists():
        raise PeersMissing(f"{harness} holds no make_model.py", fix="name the folder of the peers with --harness")
    if not (cache / "naive.onnx").exists():
        cache.mkdir(parents=True, exist_ok=True)
        run_quietly([sys.executable, str(script), str(cache)], _MODEL_S)
    if not all(any(models.glob(f"{name}/*/manifest.json")) for name in ("peers", "peers-int8")):
        models.mkdir(parents=True, exist_ok=True)
        fulcrum = [sys.executable, "-m", "fulcrum", "bench", "import-peers", str(cache / "naive.pt")]
        run_quietly([*fulcrum, "--out", str(models)], _MODEL_S)
