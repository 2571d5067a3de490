"""Bodies as clients send them: plain, gzip (RFC 1952) or zstd (RFC 8878), with a bound on what they inflate to."""

import zlib
from collections.abc import Callable

import zstandard
from fastapi import Request

from service.errors import BodyTooLarge, MalformedBody, UnsupportedEncoding

__all__ = ["BodyReader"]

_GZIP = 16 + zlib.MAX_WBITS
_ZSTD_WINDOW = 8 * 2**20  # what RFC 8878 asks every decoder to bear, and the most that a client may make us hold

_PIECE = 256


class BodyReader:
    """Reads bodies.

    Args:
        max_bytes: Bytes that a body may have once it is inflated.
    """

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._inflate: dict[str, Callable[[bytes], bytes]] = {
            "": lambda body: body,
            "identity": lambda body: body,
            "gzip": self._gunzip,
            "zstd": self._unzstd,
        }

    async def __call__(self, request: Request) -> bytes:
        """Give the plain body of a request.

        Raises:
            UnsupportedEncoding: When it is packed in a way that is not read here.
            MalformedBody: When it is not what its header says, or cut.
            BodyTooLarge: When it inflates to more than allowed; no more than that is ever made of it.
        """
        body = await request.body()
        encoding = request.headers.get("content-encoding", "").strip().lower()
        if encoding not in self._inflate:
            raise UnsupportedEncoding(
                f"bodies packed by {encoding[:40]!r} are not read here", fix="send gzip, zstd, or no Content-Encoding"
            )
        return self._inflate[encoding](body)

    def _gunzip(self, body: bytes) -> bytes:
        """Inflate member after member; a file may be several, one behind the other."""
        parts: list[bytes] = []
        left = self._max_bytes
        while body:
            member = zlib.decompressobj(_GZIP)
            try:
                parts.append(member.decompress(body, left + 1))
            except zlib.error as error:
                raise _damaged("gzip", error) from None
            left -= len(parts[-1])
            if left < 0:
                raise self._too_large()
            if not member.eof:
                raise _damaged("gzip", "it is cut")
            body = member.unused_data
        return b"".join(parts)

    def _unzstd(self, body: bytes) -> bytes:
        """Inflate frame after frame, a few bytes at a time: a block of 4 bytes may stand for 128 KiB."""
        parts: list[bytes] = []
        left, place = self._max_bytes, 0
        decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
        while place < len(body):
            frame = decompressor.decompressobj()
            while not frame.eof:
                piece = body[place : place + _PIECE]
                if not piece:
                    raise _damaged("zstd", "it is cut")
                try:
                    parts.append(frame.decompress(piece))
                except zstandard.ZstdError as error:
                    raise _damaged("zstd", error) from None
                left -= len(parts[-1])
                if left < 0:
                    raise self._too_large()
                place += len(piece) - len(frame.unused_data)
        return b"".join(parts)

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(
            f"the body inflates to more than {self._max_bytes} bytes",
            fix="send fewer candidates a request, or raise FULCRUM_MAX_BODY_BYTES",
        )


def _damaged(encoding: str, reason: object) -> MalformedBody:
    return MalformedBody(f"the body is no whole {encoding} stream: {reason}", fix="send it again as it was packed")
