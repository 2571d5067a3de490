import asyncio
import gzip
import zlib

import pytest
import zstandard
from fastapi import Request
from hypothesis import given
from hypothesis import strategies as st

from service.api.bodies import BodyReader
from service.errors import BodyTooLarge, MalformedBody, UnsupportedEncoding

LIMIT = 1_000
PACK = {"gzip": gzip.compress, "zstd": zstandard.ZstdCompressor().compress, "identity": bytes, "": bytes}


def read(body, encoding):
    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    headers = [(b"content-encoding", encoding.encode())] if encoding else []
    request = Request({"type": "http", "method": "POST", "headers": headers}, receive)
    return asyncio.run(BodyReader(max_bytes=LIMIT)(request))


@pytest.mark.parametrize("encoding", PACK)
@given(plain=st.binary(max_size=LIMIT))
def test_a_body_comes_back_as_it_was_packed(encoding, plain):
    assert read(PACK[encoding](plain), encoding) == plain


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_several_streams_one_behind_the_other_are_one_body(encoding):
    assert read(PACK[encoding](b"one ") + PACK[encoding](b"two"), encoding.upper()) == b"one two"


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
@pytest.mark.parametrize("size", [LIMIT + 1, 50_000_000])
def test_a_body_that_inflates_beyond_the_limit_is_refused(encoding, size):
    with pytest.raises(BodyTooLarge, match="inflates to more than 1000 bytes"):
        read(PACK[encoding](bytes(size)), encoding)


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_body_that_is_cut_or_no_such_stream_is_refused(encoding):
    whole = PACK[encoding](b"0123456789" * 50)

    for damaged in (whole[:-1], whole[: len(whole) // 2], b"{}", whole + b"tail"):
        with pytest.raises(MalformedBody, match=f"no whole {encoding} stream"):
            read(damaged, encoding)


def test_a_frame_that_asks_for_more_memory_than_every_decoder_has_is_refused():
    parameters = zstandard.ZstdCompressionParameters(window_log=27, enable_ldm=True)
    packed = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    with pytest.raises(MalformedBody):
        read(packed.compress(b"x" * 100) + packed.flush(), "zstd")


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, zstd", "x" * 10_000])
def test_other_encodings_are_refused_by_name(encoding):
    with pytest.raises(UnsupportedEncoding) as refused:
        read(zlib.compress(b"{}"), encoding)

    assert "gzip, zstd" in refused.value.fix
    assert len(refused.value.detail) < 200
