"""A fetched archive becomes a folder: whole or not at all, inside its place, bounded, and never over what is yours."""

import tarfile
import zipfile

import pytest

from tests.rawsets import files_under, tar_gz_of, zip_of
from training.data.unpack import unpack
from training.errors import FetchError

FILES = {"set/data/log.csv": b"a,b\n1,2\n", "set/LICENSE": b"yours to use"}
NOTE = ".fulcrum-archive.json"


@pytest.fixture
def archive(tmp_path):
    def write(content):
        path = tmp_path / "archive.bin"
        path.write_bytes(content)
        return path

    return write


def _unpacked(folder):
    return {name: content for name, content in files_under(folder).items() if name != NOTE}


@pytest.mark.parametrize("pack", [zip_of, tar_gz_of])
def test_a_zip_or_a_tar_becomes_a_folder_without_the_one_it_was_wrapped_in(tmp_path, archive, pack):
    folder = unpack(archive(pack(FILES)), tmp_path / "raw" / "set")

    assert _unpacked(folder) == {"data/log.csv": b"a,b\n1,2\n", "LICENSE": b"yours to use"}
    assert [path.name for path in (tmp_path / "raw").iterdir()] == ["set"]


def test_an_archive_in_an_archive_is_unpacked_too(tmp_path, archive):
    nested = zip_of({"inner.tar.gz": tar_gz_of({"a.data": b"1", "a.test": b"2"}), "readme": b"hello"})

    assert _unpacked(unpack(archive(nested), tmp_path / "set")) == {"a.data": b"1", "a.test": b"2", "readme": b"hello"}


def test_what_a_mac_leaves_in_an_archive_is_left_out(tmp_path, archive):
    content = zip_of({"set/a": b"1", "__MACOSX/set/._a": b"junk", "set/.DS_Store": b"junk"})

    assert _unpacked(unpack(archive(content), tmp_path / "set")) == {"a": b"1"}


def test_unpacking_again_touches_nothing_when_all_is_there(tmp_path, archive):
    path = archive(zip_of(FILES))
    folder = unpack(path, tmp_path / "set")
    (folder / "mine.txt").write_text("notes")
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*")}

    unpack(path, tmp_path / "set")

    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*")} == before


def test_a_file_that_was_lost_or_cut_comes_back(tmp_path, archive):
    path = archive(zip_of({**FILES, "set/more": b"12345"}))
    folder = unpack(path, tmp_path / "set")
    (folder / "LICENSE").unlink()
    (folder / "more").write_bytes(b"12")

    unpack(path, tmp_path / "set")

    assert _unpacked(folder) == {"data/log.csv": b"a,b\n1,2\n", "LICENSE": b"yours to use", "more": b"12345"}
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_new_archive_replaces_what_the_old_one_gave(tmp_path, archive):
    unpack(archive(zip_of({"a": b"1", "gone": b"2"})), tmp_path / "set")

    assert _unpacked(unpack(archive(zip_of({"a": b"3", "b": b"4"})), tmp_path / "set")) == {"a": b"3", "b": b"4"}


def test_a_folder_of_yours_is_never_replaced(tmp_path, archive):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "log.parquet").write_bytes(b"years of work")

    with pytest.raises(FetchError, match=r"log\.parquet"):
        unpack(archive(zip_of(FILES)), tmp_path / "set")

    assert _unpacked(tmp_path / "set") == {"log.parquet": b"years of work"}


def _header(kind, target):
    header = tarfile.TarInfo("set/link")
    header.type, header.linkname = kind, target
    return header


def _zipped_link():
    member = zipfile.ZipInfo("link")
    member.external_attr = 0o120777 << 16
    return zip_of({member: b"/etc/passwd"})


@pytest.mark.parametrize(
    "content",
    [
        zip_of({"../evil": b"x"}),
        zip_of({"a/../../evil": b"x"}),
        zip_of({"/evil": b"x"}),
        zip_of({"C:\\evil": b"x"}),
        zip_of({"..\\evil": b"x"}),
        tar_gz_of({"../evil": b"x"}),
        tar_gz_of({"/evil": b"x"}),
        zip_of({"inner.zip": zip_of({"../evil": b"x"})}),
        tar_gz_of({"set/link": _header(tarfile.SYMTYPE, "/etc"), "set/link/evil": b"x"}),
        tar_gz_of({"set/link": _header(tarfile.LNKTYPE, "../../evil")}),
        tar_gz_of({"set/link": _header(tarfile.CHRTYPE, "")}),
        _zipped_link(),
        tar_gz_of({"a": b"x", "./a": b"y"}),
        tar_gz_of({"a": b"x", "a/b": b"y"}),
        zip_of({"big": b"0" * 3_000}),
        zip_of({"inner.zip": zip_of({"big": b"0" * 1_000_000})}),
        zip_of({}),
        b"<html>not found</html>",
        zip_of({"a": b"x" * 500})[:-40],
        tar_gz_of({"a": bytes(range(256)) * 4})[:-60],
    ],
)
def test_an_archive_that_leads_outside_or_is_too_large_or_broken_is_refused_and_leaves_nothing(
    tmp_path, archive, content
):
    path = archive(content)

    with pytest.raises(FetchError):
        unpack(path, tmp_path / "raw" / "set", most_bytes=2_000)

    assert sorted(file.name for file in tmp_path.rglob("*")) == ["archive.bin", "raw"]


def test_a_tar_of_countless_files_is_refused(tmp_path, archive):
    path = archive(tar_gz_of({f"{n}": b"" for n in range(10_001)}))

    with pytest.raises(FetchError, match="10,000"):
        unpack(path, tmp_path / "raw" / "set")
