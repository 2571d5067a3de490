"""Downloads public sets from their official addresses: resumed, verified, never half there."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from training.errors import FetchError

__all__ = ["PUBLIC_SETS", "PublicSet", "fetch"]

_TRIES = 5
_TIMEOUT_S = 60.0


@dataclass(frozen=True, kw_only=True)
class PublicSet:
    """A file and where its owner publishes it.

    Args:
        source: The data set that reads it, as ``fulcrum train --data`` names it.
        digest: ``algorithm:hex`` as its owner states it; None where no checksum is published. Then the first
            download is trusted and its sha256 kept beside it, and every later one has to match.
    """

    url: str
    source: str
    digest: str | None = None


PUBLIC_SETS = {
    "ebnerd-demo": PublicSet(url="https://ebnerd-dataset.s3.eu-west-1.amazonaws.com/ebnerd_demo.zip", source="ebnerd"),
    "ebnerd-small": PublicSet(
        url="https://ebnerd-dataset.s3.eu-west-1.amazonaws.com/ebnerd_small.zip", source="ebnerd-small"
    ),
    "kuairand-pure": PublicSet(
        url="https://zenodo.org/records/10439422/files/KuaiRand-Pure.tar.gz",
        source="kuairand",
        digest="md5:0820331067a3784d9691136f772b35a7",
    ),
    "census-income": PublicSet(
        url="https://archive.ics.uci.edu/static/public/117/census+income+kdd.zip", source="census-income"
    ),
}


def fetch(
    source: PublicSet, folder: Path, *, progress: Callable[[int, int | None], None] = lambda done, total: None
) -> Path:
    """Download a file into *folder*, or verify the one that is there.

    A broken download leaves ``<name>.part`` and goes on from there, within this call and in the next.

    Args:
        progress: Called with the bytes that are there and the whole size, None where the server does not say it.

    Raises:
        FetchError: When the server fails for good, or the file does not match its checksum; the bad file is kept
            as ``<name>.bad``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / source.url.rsplit("/", 1)[-1]
    if not target.exists():
        part = target.with_name(target.name + ".part")
        _download(source.url, part, progress)
        part.with_name(part.name + ".etag").unlink(missing_ok=True)
        _verify(part, source, target)
        part.rename(target)
    _verify(target, source, target)
    return target


def _download(url: str, part: Path, progress: Callable[[int, int | None], None]) -> None:
    failure: Exception | None = None
    for _ in range(_TRIES):
        try:
            _continue(url, part, progress)
        except httpx.TransportError as error:
            failure = error
        except httpx.HTTPStatusError as error:
            raise FetchError(
                f"{url} answered {error.response.status_code}", fix="look at the data set's page"
            ) from error
        else:
            return
    raise FetchError(f"{url} broke off {_TRIES} times: {failure}", fix="run it again: it goes on where it stopped")


def _continue(url: str, part: Path, progress: Callable[[int, int | None], None]) -> None:
    """Ask for what is missing; a server that cannot resume sends the whole file, which then replaces the part."""
    have = part.stat().st_size if part.exists() else 0
    note = part.with_name(part.name + ".etag")
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if note.exists():  # the rest of another file must not be joined to what is here
            headers["If-Range"] = note.read_text()
    with httpx.stream("GET", url, headers=headers, timeout=_TIMEOUT_S, follow_redirects=True) as response:
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # nothing is missing
        response.raise_for_status()
        resumed = response.status_code == httpx.codes.PARTIAL_CONTENT
        have = have if resumed else 0
        if etag := response.headers.get("ETag"):
            note.write_text(etag)
        length = response.headers.get("Content-Length")
        total = None if length is None else have + int(length)
        with part.open("ab" if resumed else "wb") as file:
            for chunk in response.iter_raw():  # as they come: a fixed size would lose the last piece of a broken one
                file.write(chunk)
                have += len(chunk)
                progress(have, total)


def _verify(path: Path, source: PublicSet, target: Path) -> None:
    note = target.with_name(target.name + ".sha256")
    if source.digest is None and not note.exists():
        note.write_text(_digest(path, "sha256") + "\n")
    algorithm, _, wanted = (source.digest or f"sha256:{note.read_text().strip()}").partition(":")
    if _digest(path, algorithm) != wanted:
        bad = target.with_name(target.name + ".bad")
        path.rename(bad)
        raise FetchError(
            f"{target.name} does not match its {algorithm} checksum", fix=f"it is kept as {bad.name}; fetch it again"
        )


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
