"""The channel between loader and worker: whole messages, in order, at any size."""

from __future__ import annotations

import pickle
import select
import socket
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from befit.loading.transport import Channel, Kind, encode
from befit.testing.batch_source import assert_same_batch


@pytest.fixture
def sockets():
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    yield ours, theirs
    ours.close()
    theirs.close()


def receive_all(channel, count):
    messages = []
    while len(messages) < count:
        message = channel.receive()
        if message is None:
            poller = select.poll()
            poller.register(channel.fileno(), select.POLLIN)
            poller.poll(10_000)
            continue
        messages.append(message)
    return messages


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.integers(0, 3_000_000), max_size=6))
def test_messages_of_any_size_arrive_whole_and_in_order(sizes):
    """Law: what one end posts the other receives, also when both the socket and the call take parts only."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        channel, values = Channel(ours), [[np.full(size, 3, np.uint8), size] for size in sizes]

        def work():
            worker = Channel(theirs)
            for ticket, value in enumerate(values):
                worker.post(Kind.BATCH, ticket, encode(value))

        thread = threading.Thread(target=work)
        thread.start()
        messages = receive_all(channel, len(values))
        thread.join()
    assert [message.ticket for message in messages] == list(range(len(values)))
    for message, value in zip(messages, values, strict=True):
        assert message.kind is Kind.BATCH
        assert_same_batch(message.load(), value)


def test_large_arrays_leave_the_pickle_and_arrive_writable():
    pickled, buffer = encode({"x": np.zeros(100_000)})
    assert len(pickled) < 1000
    assert buffer.nbytes == 800_000
    array = pickle.loads(pickled, buffers=[np.array(buffer)])["x"]
    array += 1


def test_more_parts_than_one_system_call_takes(sockets):
    ours, theirs = sockets
    channel, value = Channel(ours), [np.array([number]) for number in range(1500)]
    Channel(theirs).post(Kind.BATCH, 1, encode(value))
    (message,) = receive_all(channel, 1)
    assert_same_batch(message.load(), value)


def test_both_ends_may_send_at_once(sockets):
    """The loader's end queues what the socket does not take: two large messages cannot block each other."""
    ours, theirs = sockets
    large = np.ones(5_000_000, np.uint8)
    channel = Channel(ours)
    channel.post(Kind.SOURCE, 0, [large])
    assert channel.has_unsent

    def work():
        worker = Channel(theirs)
        worker.post(Kind.BATCH, 1, encode(large))
        received.append(worker.receive())

    received = []
    thread = threading.Thread(target=work)
    thread.start()
    (message,) = receive_all(channel, 1)
    while channel.has_unsent:
        channel.flush()
    thread.join()
    assert_same_batch(message.load(), large)
    assert bytes(received[0].parts[0]) == large.tobytes()


def test_the_end_of_the_other_side_is_an_error_each_time(sockets):
    ours, theirs = sockets
    channel = Channel(ours)
    assert channel.receive() is None
    Channel(theirs).post(Kind.TASK, 5, [b"x"])
    theirs.close()
    assert channel.receive().ticket == 5
    for _ in range(2):
        with pytest.raises(EOFError):
            channel.receive()


def test_half_a_message_is_no_message(sockets):
    ours, theirs = sockets
    channel = Channel(ours)
    theirs.sendall(b"\x01\x00\x00")
    assert channel.receive() is None
    theirs.close()
    with pytest.raises(EOFError):
        channel.receive()
