import contextlib
import traceback

import pytest

from service.errors import StoreUnavailable
from service.stores.memory import MemoryRevisionStore
from service.stores.opening import open_revision_store
from service.stores.sqlite import SqliteRevisionStore
from service.stores.valkey import ValkeyRevisionStore
from service.stores.valkey_address import connect, parse_address
from tests.suites.revision_store import change


@pytest.mark.parametrize(
    ("location", "kind"),
    [
        (":memory:", MemoryRevisionStore),
        ("var/fusion.sqlite", SqliteRevisionStore),
        ("/var/lib/fulcrum: all of it?.sqlite", SqliteRevisionStore),
        ("redis://localhost", ValkeyRevisionStore),
        ("rediss://user:secret@localhost:6380/1?namespace=shop", ValkeyRevisionStore),
        ("valkey://localhost:6379/0", ValkeyRevisionStore),
        ("valkeys://localhost", ValkeyRevisionStore),
        ("unix:///run/valkey.sock?db=2", ValkeyRevisionStore),
    ],
)
def test_a_location_names_its_store_and_opening_it_touches_nothing(tmp_path, monkeypatch, location, kind):
    monkeypatch.chdir(tmp_path)
    with contextlib.closing(open_revision_store(location)) as store:
        assert isinstance(store, kind)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_not_there_makes_the_store_unavailable_at_the_first_use():
    store = open_revision_store("valkey://127.0.0.1:1")
    with contextlib.closing(store), pytest.raises(StoreUnavailable, match="does not answer") as refusal:
        store.append(change())

    assert "valkey://127.0.0.1:1" in refusal.value.detail
    assert "start the server" in refusal.value.fix


@pytest.mark.parametrize("scheme", ["http", "postgres", "sqlite", "file"])
def test_a_url_that_names_no_store_is_refused_with_those_that_do(scheme):
    with pytest.raises(StoreUnavailable, match=f"{scheme}://") as refusal:
        open_revision_store(f"{scheme}://localhost/x")

    assert "valkey://" in refusal.value.fix


@pytest.mark.parametrize(
    "location",
    [
        "redis://:hunter2#x@localhost",
        "redis://:hunter2/x@localhost",
        "redis://user:[hunter2@localhost",
        "redis://:hunter2@localhost:many",
        "redis://:hunter2@localhost?no_such_option=1",
        "redis://:hunter2@localhost?socket_timeout=soon",
        "redis://:hunter2@localhost?namespace={x}",
    ],
)
def test_a_url_that_cannot_be_read_is_refused_at_once_and_its_password_shown_to_nobody(location):
    with pytest.raises(StoreUnavailable) as refusal:
        open_revision_store(location)

    assert refusal.value.fix
    assert "hunter2" not in "".join(traceback.format_exception(refusal.value))


def test_a_password_reaches_the_server_and_no_message():
    address = parse_address("valkeys://ana:hunter%232@cache:6380/3?namespace=shop&health_check_interval=7")
    with connect(address, timeout_s=0.5) as client:
        options = client.connection_pool.connection_kwargs

    assert (options["host"], options["port"], options["db"]) == ("cache", 6380, 3)
    assert (options["username"], options["password"]) == ("ana", "hunter#2")
    assert (options["socket_timeout"], options["health_check_interval"]) == (0.5, 7)
    assert (address.namespace, address.shown) == ("shop", "valkeys://cache:6380/3")
