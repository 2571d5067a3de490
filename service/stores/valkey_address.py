"""Where a Valkey (or Redis) server is, and a client for it that fails soon and never tries a change twice."""

from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from service.errors import StoreUnavailable

__all__ = ["SCHEMES", "ValkeyAddress", "connect", "parse_address"]

SCHEMES = {
    "redis": "redis",
    "rediss": "rediss",
    "valkey": "redis",
    "valkeys": "rediss",
    "unix": "unix",
}
"""Schemes of a location, and what redis-py calls them; a final s asks for TLS."""
_NAMESPACE = "namespace"
_DEFAULT_NAMESPACE = "default"


@dataclass(frozen=True, kw_only=True)
class ValkeyAddress:
    """A location, taken apart.

    Args:
        url: As redis-py takes it; may hold a password.
        namespace: Of this service's keys, so that several share a server.
        shown: For messages: neither user, password nor options.
    """

    url: str
    namespace: str
    shown: str


def parse_address(location: str) -> ValkeyAddress:
    """Take a URL apart; ``?namespace=`` is ours, every other option is redis-py's.

    Raises:
        StoreUnavailable: When it is none. Its own text is not repeated: it may hold a password.
    """
    try:
        parts = urlsplit(location)
        options = dict(parse_qsl(parts.query))
        host = parts.hostname or ""
        shown = f"{parts.scheme}://{host}{f':{parts.port}' if parts.port else ''}{parts.path}"
    except ValueError:
        raise _unusable() from None
    namespace = options.pop(_NAMESPACE, _DEFAULT_NAMESPACE)
    if parts.scheme not in SCHEMES or parts.fragment or set(namespace) & set("{}"):
        raise _unusable()
    url = f"{SCHEMES[parts.scheme]}://{parts.netloc}{parts.path}"
    return ValkeyAddress(url=f"{url}?{urlencode(options)}" if options else url, namespace=namespace, shown=shown)


def connect(address: ValkeyAddress, *, timeout_s: float) -> "Redis":
    """Give a client; it connects when it is first used.

    Answers are bytes: one torn record must not fail a whole answer. Nothing is tried twice: the second try of a change
    whose answer was lost would be told of a conflict with itself.

    Raises:
        StoreUnavailable: When the URL has an option that redis-py does not know.
    """
    try:
        client = Redis.from_url(
            address.url,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
        )
        pool = client.connection_pool
        pool.connection_class(**pool.connection_kwargs)  # an unknown option would fail here, at the start
    except (TypeError, ValueError, RedisError):
        raise _unusable() from None
    return client


def _unusable() -> StoreUnavailable:
    return StoreUnavailable(
        "the URL of the store cannot be read",
        fix="write it as valkey://user:password@host:port/0?namespace=name, "
        "and # ? / @ of a password as %23 %3F %2F %40",
    )
