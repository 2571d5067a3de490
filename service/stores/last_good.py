"""A file of the newest revisions, for a start while the store is gone."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import structlog

from service.revisions import Revision

__all__ = ["LastGoodFile"]

_log = structlog.get_logger(__name__)


class LastGoodFile:
    """Remembers what the store last said; see :class:`service.ranking.follower.Memory`.

    Args:
        path: Is replaced whole, by rename; several processes may share it, as all write what the store says.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def save(self, latest: Mapping[str, Revision]) -> None:
        """Keep the newest revisions; a disk that refuses costs a log line and nothing else."""
        text = json.dumps([_document(revision) for revision in latest.values()])
        draft = self._path.with_name(f".{self._path.name}.{id(self)}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text(text)
            draft.replace(self._path)
        except OSError as error:
            _log.warning("last good revisions not kept", path=str(self._path), reason=str(error))

    def load(self) -> Mapping[str, Revision]:
        """Give what was kept; nothing where the file is absent or damaged."""
        try:
            revisions = [_revision(document) for document in json.loads(self._path.read_text())]
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, KeyError) as error:
            _log.warning("last good revisions not read", path=str(self._path), reason=str(error))
            return {}
        return {revision.name: revision for revision in revisions}


def _document(revision: Revision) -> dict[str, object]:
    return {**asdict(revision), "created_at": revision.created_at.isoformat()}


def _revision(document: dict[str, str]) -> Revision:
    return Revision(**{**document, "created_at": datetime.fromisoformat(document["created_at"])})  # type: ignore[arg-type]
