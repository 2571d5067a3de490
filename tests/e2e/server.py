"""The real server as its own process, on a port that the kernel chose."""

import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOKEN = "a-token-for-tests"
_SETTINGS = {
    "FULCRUM_ADMIN_TOKEN": TOKEN,
    "FULCRUM_WATCH_INTERVAL_S": "0.05",
    # What is promised under load has to hold for each request on a busy machine: none is turned away here.
    "FULCRUM_MAX_QUEUE_WAIT_MS": "60000",
    "PYTHONUNBUFFERED": "1",
}
_LISTENS = re.compile(r"listens on (http://\S+)")


class Server:
    """A running server; *url* is where it listens."""

    def __init__(self, process, url):
        self.process = process
        self.url = url

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@contextmanager
def server(models, fusion_store, **settings):
    """Start it, wait until it says where it listens, and stop it in the end whatever happened.

    *settings* are ``FULCRUM_*`` variables beside those of every test.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FULCRUM_")}
    command = [sys.executable, "-m", "fulcrum", "serve", "--models", str(models), "--port", "0"]
    process = subprocess.Popen(
        [*command, "--fusion-store", str(fusion_store)],
        env=environment | _SETTINGS | settings,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        for line in process.stdout:
            if found := _LISTENS.search(line):
                yield Server(process, found[1])
                return
        raise AssertionError(f"the server ended with {process.wait(30)} before it listened")
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(30)
        process.stdout.close()
