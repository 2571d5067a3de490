# ruff: noqa: T201 - prints its table
"""What ONNX Runtime's arena keeps under lists of random length: ``python -m tests.load.arena``.

One process a setting, so that none inherits what another left; the same lengths in each.
"""

import argparse
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort

from contract.arrays import GraphInputs
from contract.bundle import latest_bundle
from contract.encoding import Encoder
from service.runtime.gate import golden_rows
from tests.load.process import Process

ROOT = Path(__file__).parents[2]
SETTINGS = ("default", "same", "no_pattern", "no_pattern_same", "shrink", "no_arena")


def session_of(path: Path, setting: str) -> tuple[ort.InferenceSession, ort.RunOptions]:
    """Open the graph with one setting of the arena, one thread."""
    options, run = ort.SessionOptions(), ort.RunOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_mem_pattern = not setting.startswith("no_pattern")
    options.enable_cpu_mem_arena = setting != "no_arena"
    providers: list = ["CPUExecutionProvider"]
    if setting.endswith("same"):
        providers = [("CPUExecutionProvider", {"arena_extend_strategy": "kSameAsRequested"})]
    if setting == "shrink":
        run.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return ort.InferenceSession(str(path), options, providers=providers), run


def measure(setting: str, calls: int) -> str:
    """Call it and give a row: resident memory at the start, a tenth, a half and the end, and the processor's time."""
    bundle = latest_bundle(ROOT / "models_onnx", "demo")
    session, run = session_of(bundle.model_path, setting)
    golden = golden_rows(bundle.golden(), Encoder(bundle.manifest.features))
    lengths, me, seen = random.Random(1), Process.current(), []
    started = time.process_time()
    for call in range(calls):
        if call in (0, calls // 10, calls // 2):
            seen.append(me.rss_mib())
        rows = np.arange(lengths.randint(1, 1000))
        candidate = golden.candidate.take(rows % len(golden.candidate))
        session.run(None, GraphInputs.single(golden.request.take(slice(1)), candidate).feeds(), run)
    seen.append(me.rss_mib())
    memory = " | ".join(f"{each:.0f}" for each in seen)
    return f"| {setting} | {memory} | {(time.process_time() - started) / calls * 1000:.2f} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--setting", choices=SETTINGS)
    given = parser.parse_args()
    if given.setting:
        print(measure(given.setting, given.calls))
        return
    print("| setting | start, MiB | a tenth | half | end | CPU ms a call |\n|---|---|---|---|---|---|")
    for setting in SETTINGS:
        command = [sys.executable, "-m", "tests.load.arena", "--calls", str(given.calls), "--setting", setting]
        print(subprocess.run(command, check=True, capture_output=True, text=True).stdout, end="", flush=True)


if __name__ == "__main__":
    main()
