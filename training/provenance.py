"""Where a bundle comes from."""

import importlib.metadata
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from contract.manifest import Provenance

__all__ = ["current_commit", "provenance"]

_LIBRARIES = ("torch", "onnx", "onnxscript", "onnxruntime", "numpy", "pyarrow")


def provenance(
    config: dict[str, Any], *, data_fingerprint: str, seed: int, more_libraries: Sequence[str] = ()
) -> Provenance:
    """Collect what is needed to make a bundle again."""
    return Provenance(
        created_at=datetime.now(UTC),
        commit=current_commit(),
        config=config,
        data_fingerprint=data_fingerprint,
        seed=seed,
        libraries={name: importlib.metadata.version(name) for name in (*_LIBRARIES, *more_libraries)},
    )


def current_commit() -> str:
    """Name the commit of the checkout, with ``-dirty`` behind it where files were changed; else "unknown"."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],  # noqa: S607 - git is found by PATH
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return described.stdout.strip()
