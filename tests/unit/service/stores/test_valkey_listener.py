from uuid import uuid4

import pytest
from redis import Redis

from service.stores.pulse import Pulse
from service.stores.valkey_address import connect, parse_address
from service.stores.valkey_listener import ValkeyListener
from tests.fakes import PATIENCE_S


@pytest.fixture
def client(valkey_server):
    with connect(parse_address(valkey_server.url), timeout_s=0.1) as client:
        yield client


@pytest.fixture
def channel():
    return uuid4().hex


@pytest.fixture
def listen(client, channel):
    """Give the pulse of a listener that is subscribed."""
    pulses = []

    def start(*, silence_s):
        pulse = Pulse()
        listener = ValkeyListener(client, channel, pulse, silence_s=silence_s)
        pulses.append((pulse, listener))
        listener.start()
        pulse.wait(0, PATIENCE_S)
        assert pulse.beats == 1
        return pulse

    yield start
    for pulse, listener in pulses:
        pulse.close()
        listener.join(PATIENCE_S)
        assert not listener._thread.is_alive()


def test_every_message_beats(listen, client: Redis, channel):
    pulse = listen(silence_s=600.0)

    for number in range(1, 4):
        client.publish(channel, "x")
        pulse.wait(number, PATIENCE_S)
        assert pulse.beats == number + 1


def test_a_server_that_has_nothing_to_say_answers_and_is_not_taken_for_lost(listen):
    pulse = listen(silence_s=0.05)

    pulse.wait(1, 0.5)  # ten times the silence after which it is asked

    assert pulse.beats == 1


def test_a_server_that_falls_silent_is_connected_to_again(listen, client, channel, valkey_server):
    pulse = listen(silence_s=0.05)
    valkey_server.freeze()
    try:
        pulse.wait(1, PATIENCE_S)
        assert pulse.beats > 1  # it noticed
    finally:
        valkey_server.thaw()

    while client.publish(channel, "x") == 0:  # until it is subscribed again
        pulse.wait(pulse.beats, PATIENCE_S)
    beats = pulse.beats
    client.publish(channel, "x")
    pulse.wait(beats, PATIENCE_S)
    assert pulse.beats > beats


def test_a_listener_that_never_started_ends_at_once(client, channel):
    pulse = Pulse()
    listener = ValkeyListener(client, channel, pulse, silence_s=1.0)
    pulse.close()
    listener.start()
    listener.join(PATIENCE_S)

    assert listener._thread is None
