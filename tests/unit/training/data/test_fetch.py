"""Downloads against a real HTTP server on loopback: resumed, verified, never spliced."""

import hashlib

import pytest

from training.data.fetch import PublicSet, fetch
from training.errors import FetchError

CONTENT = bytes(range(256)) * 4_000
DIGEST = "md5:" + hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()


@pytest.fixture(autouse=True)
def _content(http):
    http.content = CONTENT


def test_a_download_that_breaks_off_goes_on_where_it_stopped(http, tmp_path):
    http.breaks = [True, True]
    seen = []

    path = fetch(
        PublicSet(url=http.url, source="ebnerd", digest=DIGEST),
        tmp_path,
        progress=lambda done, total: seen.append((done, total)),
    )

    assert path.read_bytes() == CONTENT
    assert len(http.ranges) == 3
    assert None not in http.ranges[1:]
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert not list(tmp_path.glob("*.part"))


def test_a_file_that_changed_while_it_was_fetched_is_fetched_anew_and_never_spliced(http, tmp_path):
    http.breaks, http.next_content = [True], CONTENT[::-1]

    assert fetch(PublicSet(url=http.url, source="ebnerd"), tmp_path).read_bytes() == CONTENT[::-1]


def test_a_file_that_does_not_match_its_checksum_is_refused_and_kept_aside(http, tmp_path):
    http.content = CONTENT[:-1] + b"!"

    with pytest.raises(FetchError, match="checksum"):
        fetch(PublicSet(url=http.url, source="ebnerd", digest=DIGEST), tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["set.bin.bad"]


def test_without_a_published_checksum_the_first_download_binds_the_later_ones(http, tmp_path):
    path = fetch(PublicSet(url=http.url, source="ebnerd"), tmp_path)
    path.unlink()
    http.content = CONTENT + b"changed"

    with pytest.raises(FetchError, match="sha256"):
        fetch(PublicSet(url=http.url, source="ebnerd"), tmp_path)


def test_a_file_that_is_there_and_right_is_not_fetched_again(http, tmp_path):
    source = PublicSet(url=http.url, source="ebnerd", digest=DIGEST)
    fetch(source, tmp_path)
    fetch(source, tmp_path)

    assert len(http.ranges) == 1


def test_a_server_that_says_no_is_named(tmp_path, http):
    http.RequestHandlerClass = type("_No", (http.RequestHandlerClass,), {"do_GET": lambda self: self.send_error(404)})

    with pytest.raises(FetchError, match="404"):
        fetch(PublicSet(url=http.url, source="ebnerd"), tmp_path)
