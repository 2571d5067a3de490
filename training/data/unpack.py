"""Unpacks a fetched archive: whole or not at all, nothing outside its folder, and bounded."""

import gzip
import hashlib
import json
import lzma
import shutil
import stat
import tarfile
import uuid
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath
from typing import IO, Any

from training.errors import FetchError

__all__ = ["unpack"]

_NOTE = ".fulcrum-archive.json"
_MOST_BYTES = 4 * 1024**3
_MOST_FILES = 10_000
_CHUNK = 1024 * 1024
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
_BROKEN = (
    tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError
)  # fmt: skip


def unpack(archive: Path, folder: Path, *, most_bytes: int = _MOST_BYTES) -> Path:
    """Unpack a zip or a tar as *folder*, and archives that lie in it beside it; it appears by rename.

    A folder that holds all that the archive gave is left as it is, a damaged one of ours is replaced. Where the
    archive wraps everything in one folder, that folder's content is what *folder* holds.

    Args:
        most_bytes: What it may unpack to, in bytes.

    Raises:
        FetchError: When the archive is broken, holds a link or a name that leads out of the folder, is larger than
            allowed, or something else stands at *folder*. Nothing is left then.
    """
    digest = _sha256(archive)
    if folder.exists() and _is_whole(folder, digest):
        return folder
    draft = folder.with_name(f".{folder.name}-{uuid.uuid4().hex}")
    draft.mkdir(parents=True)
    try:
        _Unpacker(draft, most_bytes).take_all(archive)
        inside = list(draft.iterdir())
        home = inside[0] if len(inside) == 1 and inside[0].is_dir() else draft
        (home / _NOTE).write_text(json.dumps({"sha256": digest, "files": _sizes(home)}))
        _put(home, folder)
    except OSError as error:
        raise FetchError(f"{archive.name} cannot be unpacked: {error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def _is_whole(folder: Path, digest: str) -> bool:
    """Tell whether the folder holds all that this archive gave.

    Raises:
        FetchError: When it does not, and holds what no archive gave, which would be lost.
    """
    note, sizes = _note(folder), _sizes(folder)
    if note["sha256"] == digest and note["files"].items() <= sizes.items():
        return True
    foreign = sorted(set(sizes) - set(note["files"]))
    if foreign or folder.is_symlink() or not folder.is_dir():
        raise FetchError(
            f"{folder} is there already and is not (only) what was fetched: {', '.join(foreign[:3]) or 'no folder'}",
            fix="move it away, or fetch into another folder with --out",
        )
    return False


def _note(folder: Path) -> dict[str, Any]:
    path = folder / _NOTE
    return dict(json.loads(path.read_bytes())) if path.is_file() else {"sha256": "", "files": {}}


def _sizes(folder: Path) -> dict[str, int]:
    files = (path for path in folder.rglob("*") if not path.is_dir() and path.name != _NOTE)
    return {path.relative_to(folder).as_posix(): path.lstat().st_size for path in files}


def _put(home: Path, folder: Path) -> None:
    """Have *home* stand at *folder*; two renames, so that there is never half of one and half of the other."""
    old = folder.with_name(f".{folder.name}-old-{uuid.uuid4().hex}")
    if folder.exists():
        folder.rename(old)
    home.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


class _Unpacker:
    """Writes the regular files of archives under one folder, and counts what it writes: headers may lie.

    Args:
        folder: Empty; as no link is ever made in it, no path can lead out of it.
        most_bytes: Of all files together.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._folder = folder
        self._bytes_left = most_bytes
        self._files_left = _MOST_FILES

    def take_all(self, archive: Path) -> None:
        """Unpack an archive and those in it; one level is what owners do, and deeper ones stay packed."""
        self._take(archive, self._folder)
        if not any(self._folder.iterdir()):
            raise FetchError(f"{archive.name} holds no files", fix="look at the data set's page")
        for nested in [path for path in self._folder.rglob("*") if path.is_file() and path.name.endswith(_ARCHIVES)]:
            self._take(nested, nested.parent)
            nested.unlink()

    def _take(self, archive: Path, folder: Path) -> None:
        try:
            for name, file in _members(archive):
                self._write(name, file, folder, archive.name)
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise FetchError(f"{archive.name} holds {error.filename} twice") from error
        except _BROKEN as error:
            raise FetchError(
                f"{archive.name} cannot be unpacked: {error}", fix="delete it and fetch it again"
            ) from error

    def _write(self, name: str, file: IO[bytes], folder: Path, archive: str) -> None:
        path = PureWindowsPath(name)  # reads both kinds of slashes, and drives
        if path.anchor or ".." in path.parts or not path.name:
            raise FetchError(f"{archive} holds {name!r}, which leads out of its folder")
        if "__MACOSX" in path.parts or path.name.startswith(("._", ".DS_Store")):
            return  # what a Mac adds to the files of others
        self._files_left -= 1
        if self._files_left < 0:
            raise FetchError(f"{archive} holds more than {_MOST_FILES:,} files")
        target = folder.joinpath(*path.parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as out:
            while chunk := file.read(min(_CHUNK, self._bytes_left + 1)):
                self._bytes_left -= len(chunk)
                if self._bytes_left < 0:
                    raise FetchError(f"{archive} unpacks to more than it may")
                out.write(chunk)


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    if zipfile.is_zipfile(archive):
        return _zip_members(archive)
    if tarfile.is_tarfile(archive):
        return _tar_members(archive)
    raise FetchError(f"{archive.name} is neither a zip nor a tar", fix="look at the data set's page")


def _zip_members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(archive) as packed:
        for member in packed.infolist():
            if member.is_dir():
                continue
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG) or member.flag_bits & 1:
                raise FetchError(f"{archive.name} holds {member.filename!r}, which is a link or encrypted")
            with packed.open(member) as file:
                yield member.filename, file


def _tar_members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with tarfile.open(archive) as packed:
        for member in packed:
            if member.isdir():
                continue
            file = packed.extractfile(member) if member.isreg() else None
            if file is None:
                raise FetchError(f"{archive.name} holds {member.name!r}, which is no plain file")
            yield member.name, file
        while packed.fileobj.read(_CHUNK):
            pass  # the checksum of a packed stream stands at its very end, behind what a tar needs


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
