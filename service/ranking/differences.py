"""What changed from one document to the next."""

from collections.abc import Iterator
from typing import Any

__all__ = ["differences"]


def differences(before: Any, after: Any, path: str = "") -> Iterator[dict[str, Any]]:
    """Give every leaf that differs: its JSON pointer, and its value before and after; None where there was none."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in (*before, *(key for key in after if key not in before)):
            yield from differences(before.get(key), after.get(key), f"{path}/{_escaped(key)}")
    elif before != after:
        yield {"path": path, "before": before, "after": after}


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
