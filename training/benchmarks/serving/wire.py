"""The least of HTTP/1.1 that a load driver needs: one kept-open connection, one request at a time.

One client for both sides, so that its own cost is the same for both. It reads an answer whole and parses no body.
"""

import asyncio
import re
from dataclasses import dataclass
from typing import Self

__all__ = ["LOOPBACK", "Answer", "BrokenAnswer", "Connection", "post"]

LOOPBACK = "127.0.0.1"
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked", re.IGNORECASE)
_RETRY = re.compile(rb"\r\nretry-after:[ \t]*([^\r]+)", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection:[ \t]*close", re.IGNORECASE)


class BrokenAnswer(ConnectionError):
    """What came back is no answer, or ended in its middle."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer.

    Args:
        retry_after: The header of that name, or None.
    """

    status: int
    body: bytes
    retry_after: str | None = None


def post(path: str, body: bytes) -> bytes:
    """Give the whole request as it goes over the wire."""
    head = f"POST {path} HTTP/1.1\r\nHost: {LOOPBACK}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


class Connection:
    """A connection to a server on this machine.

    Args:
        reader: Of the open socket.
        writer: Of the open socket.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int) -> Self:
        """Connect.

        Raises:
            OSError: When nobody listens.
        """
        return cls(*await asyncio.open_connection(LOOPBACK, port, limit=2**20))

    @property
    def is_open(self) -> bool:
        """Whether another request may be sent."""
        return not self._writer.is_closing() and not self._reader.at_eof()

    async def ask(self, request: bytes) -> Answer:
        """Send a request and read its answer.

        Raises:
            ConnectionError: When the server closes or answers something else than HTTP.
        """
        try:
            self._writer.write(request)
            await self._writer.drain()
            return await self._read()
        except asyncio.IncompleteReadError as error:
            raise BrokenAnswer("the server closed in the middle of an answer") from error
        except (ValueError, IndexError, asyncio.LimitOverrunError) as error:
            raise BrokenAnswer(f"not an HTTP answer: {error}") from error

    def close(self) -> None:
        """Close at once; what is under way is dropped."""
        self._writer.transport.abort()

    async def _read(self) -> Answer:
        head = await self._reader.readuntil(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        if length := _LENGTH.search(head):
            body = await self._reader.readexactly(int(length[1]))
        elif _CHUNKED.search(head):
            body = await self._chunks()
        else:
            raise BrokenAnswer("the answer states no length")
        if _CLOSE.search(head):
            self.close()
        retry = _RETRY.search(head)
        return Answer(status=status, body=body, retry_after=retry[1].decode() if retry else None)

    async def _chunks(self) -> bytes:
        parts = []
        while size := int((await self._reader.readuntil(b"\r\n")).split(b";")[0], 16):
            parts.append(await self._reader.readexactly(size))
            await self._reader.readexactly(2)
        await self._reader.readuntil(b"\r\n")
        return b"".join(parts)
