"""The channel between loader and worker: whole messages, in order, at any size, with descriptors."""

from __future__ import annotations

import gc
import os
import resource
import select
import socket
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from befit._internal.memory import Memory, create
from befit.loading.transport import Channel, Kind


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


def flush_all(channel):
    poller = select.poll()
    poller.register(channel.fileno(), select.POLLOUT)
    while channel.has_unsent:
        poller.poll(10_000)
        channel.flush()


def open_memories():
    links = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
    return sum("memfd:befit" in os.readlink(link) for link in links if os.path.islink(link))


def content(message):
    return [bytes(part) for part in message.parts]


@settings(max_examples=60, deadline=None)
@given(
    messages=st.lists(
        st.lists(st.one_of(st.integers(0, 200), st.integers(0, 300_000)), max_size=5), min_size=1, max_size=6
    ),
    with_descriptor=st.sets(st.integers(0, 5)),
    loader_sends=st.booleans(),
)
def test_messages_of_any_size_arrive_whole_and_in_order(messages, with_descriptor, loader_sends):
    """Law: what one end posts the other receives, also when the socket takes and gives parts only."""
    parts = [[np.arange(size).astype(np.uint8).tobytes() for size in sizes] for sizes in messages]
    memories = {number: create(8) for number in with_descriptor}
    for number, descriptor in memories.items():
        os.pwrite(descriptor.fileno(), bytes([number]), 0)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        ends = Channel(ours), Channel(theirs)
        sender, receiver = ends if loader_sends else ends[::-1]

        def send():
            for ticket, pieces in enumerate(parts):
                sender.post(Kind.BATCH, ticket, pieces, memories.get(ticket))
            flush_all(sender)

        thread = threading.Thread(target=send)
        thread.start()
        received = receive_all(receiver, len(parts))
        thread.join()
    assert [message.ticket for message in received] == list(range(len(parts)))
    assert [content(message) for message in received] == parts
    for number, message in enumerate(received):
        assert message.kind is Kind.BATCH
        assert (message.descriptor is not None) == (number in with_descriptor)
        if message.descriptor is not None:
            assert os.pread(message.descriptor.fileno(), 1, 0) == bytes([number]), "each with its own message"
            assert not os.get_inheritable(message.descriptor.fileno())


def test_messages_may_be_cut_anywhere(sockets):
    """Within a header, too, with another message before it."""
    ours, theirs = sockets
    for ticket, part in enumerate([b"one", b"two" * 20, b"three"]):
        Channel(theirs).post(Kind.BATCH, ticket, [part])
    stream = ours.recv(10_000)
    for place in range(1, len(stream)):
        channel, received = Channel(ours), []
        for piece in (stream[:place], stream[place:]):
            theirs.sendall(piece)
            while (message := channel.receive()) is not None:
                received.append(content(message))
        assert received + [content(m) for m in receive_all(channel, 3 - len(received))] == [
            [b"one"],
            [b"two" * 20],
            [b"three"],
        ]


def test_parts_are_aligned_and_writable(sockets):
    """Arrays are made of them as they are."""
    ours, theirs = sockets
    channel = Channel(ours)
    Channel(theirs).post(Kind.BATCH, 1, [b"x" * 3, np.arange(5.0), b"y", np.ones(100_000)])
    (message,) = receive_all(channel, 1)
    for part in message.parts:
        array = np.frombuffer(part, np.uint8)
        assert array.ctypes.data % 16 == 0
        assert array.flags.writeable
    assert np.frombuffer(message.parts[1]).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("length", [6, 60_000])
def test_arrays_of_any_layout_may_be_parts(sockets, length):
    """Strided, of zero size, of a dtype that memoryview does not know."""
    ours, theirs = sockets
    channel = Channel(ours)
    strided = np.arange(2 * length)[::2]
    dates = np.arange(length).astype("M8[s]")
    thread = threading.Thread(
        target=Channel(theirs).post, args=(Kind.BATCH, 1, [strided, np.empty((0, 3)), dates])
    )
    thread.start()
    (message,) = receive_all(channel, 1)
    thread.join()
    assert content(message) == [strided.tobytes(), b"", dates.tobytes()]


def test_more_parts_than_one_system_call_takes(sockets):
    ours, theirs = sockets
    channel, parts = Channel(ours), [bytes([number % 256]) * 100 for number in range(1500)]
    thread = threading.Thread(target=Channel(theirs).post, args=(Kind.BATCH, 1, parts))
    thread.start()
    (message,) = receive_all(channel, 1)
    thread.join()
    assert content(message) == parts


def test_both_ends_may_send_at_once(sockets):
    """The loader's end queues what the socket does not take: two large messages cannot block each other."""
    ours, theirs = sockets
    large = np.ones(5_000_000, np.uint8)
    channel = Channel(ours)
    channel.post(Kind.SOURCE, 0, [large])
    assert channel.has_unsent

    def work():
        worker = Channel(theirs)
        worker.post(Kind.BATCH, 1, [large])
        received.append(worker.receive())

    received = []
    thread = threading.Thread(target=work)
    thread.start()
    (message,) = receive_all(channel, 1)
    flush_all(channel)
    thread.join()
    assert content(message) == content(received[0]) == [large.tobytes()]


def test_a_descriptor_in_line_waits_for_its_message(sockets):
    """It is sent with the message that it belongs to, however long that stands in line, and is not leaked."""
    ours, theirs = sockets
    gc.collect()  # what other tests left must not go away in the middle of this one
    before = open_memories()
    channel, descriptor = Channel(ours), create(8)
    os.pwrite(descriptor.fileno(), b"content", 0)
    channel.post(Kind.SOURCE, 0, [bytes(5_000_000)])
    channel.post(Kind.SEGMENT, 0, [b"head"], descriptor)
    del descriptor
    received = []
    worker = Channel(theirs)
    thread = threading.Thread(target=lambda: received.extend([worker.receive(), worker.receive()]))
    thread.start()
    flush_all(channel)
    thread.join()
    assert received[0].descriptor is None
    assert os.pread(received[1].descriptor.fileno(), 7, 0) == b"content"
    assert open_memories() == before + 1, "the receiver's; the sender's was closed when it was sent"
    received.clear()
    assert open_memories() == before


def test_descriptors_that_stand_first_in_line_are_not_lost(sockets):
    """The socket takes them at the second attempt, or their messages in parts."""
    ours, theirs = sockets
    channel, worker, memories = Channel(ours), Channel(theirs), [create(8), create(8)]
    os.pwrite(memories[1].fileno(), b"\x01", 0)
    for ticket in range(100):
        channel.post(Kind.SEGMENT, ticket, [bytes(60_000)], memories[ticket % 2])
    assert channel.has_unsent
    for ticket in range(100):
        message = worker.receive()
        channel.flush()
        assert message.ticket == ticket
        assert os.pread(message.descriptor.fileno(), 1, 0) == bytes([ticket % 2])


def test_a_descriptor_that_cannot_be_sent_takes_its_message_along(sockets):
    """So that the message can be sent another way."""
    ours, theirs = sockets
    channel, worker, descriptor = Channel(ours), Channel(theirs), create(8)
    descriptor.close()  # as good as too many on their way
    with pytest.raises(OSError, match="Bad file descriptor"):
        worker.post(Kind.BATCH, 1, [bytes(100_000)], descriptor)
    worker.post(Kind.BATCH, 1, [b"x"])
    assert content(channel.receive()) == [b"x"]
    assert channel.receive() is None


def test_a_descriptor_that_finds_no_room_is_reported(sockets):
    """The process that receives it has too many open files: the message comes without it."""
    ours, theirs = sockets
    channel, worker, descriptor = Channel(ours), Channel(theirs), create(8)
    worker.post(Kind.BATCH, 1, [b"x"], descriptor)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (os.dup(0), hard))  # the number above those in use
    try:
        message = channel.receive()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (content(message), message.descriptor) == ([b"x"], None)
    worker.post(Kind.BATCH, 2, [b"y"], descriptor)
    (message,) = receive_all(channel, 1)
    assert message.descriptor is not None


def test_the_end_of_the_other_side_is_an_error_each_time(sockets):
    ours, theirs = sockets
    channel = Channel(ours)
    assert channel.receive() is None
    Channel(theirs).post(Kind.TASKS, 5, [b"x"])
    theirs.close()
    assert channel.receive().ticket == 5
    assert channel.receive() is None, "what came with one look is handed out before the next look"
    for _ in range(2):
        with pytest.raises(EOFError):
            channel.receive()


def test_the_workers_end_waits_for_a_message(sockets):
    ours, theirs = sockets
    channel, worker = Channel(ours), Channel(theirs)
    for ticket in range(3):
        channel.post(Kind.TASKS, ticket, [b"x"])
        assert worker.receive().ticket == ticket


def test_an_end_that_left_mail_unread_is_gone_as_any_other(sockets):
    """The system has another error for that."""
    ours, theirs = sockets
    channel = Channel(ours)
    channel.post(Kind.TASKS, 1, [b"x"])
    theirs.close()
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


def test_memory_is_shared_and_outlives_its_descriptor():
    descriptor = create(100)
    first, second = Memory(descriptor, 100), Memory(descriptor, 100)
    private = Memory(descriptor, 100, private=True)
    descriptor.close()
    arrays = [np.ndarray(3, np.uint8, memory.lease()) for memory in (first, second, private)]
    del first, second, private  # the arrays keep what they lie in
    arrays[0][:] = 7
    assert [array.tolist() for array in arrays] == [[7, 7, 7]] * 3
    arrays[2][:] = 1
    assert [array.tolist() for array in arrays] == [[7, 7, 7], [7, 7, 7], [1, 1, 1]]


def test_memory_that_cannot_be_mapped_is_an_error():
    descriptor = create(100)
    descriptor.close()
    with pytest.raises(OSError, match=r"cannot map \d+ bytes of shared memory"):
        Memory(descriptor, 100)


def test_memory_is_unmapped_with_the_last_array():
    def mapped():
        with open("/proc/self/maps") as maps:
            return sum("memfd:befit" in line for line in maps)

    before = mapped()
    array = np.ndarray(3, np.uint8, Memory(create(100), 100).lease())
    part = array.reshape(3, 1)[1:]
    del array
    assert mapped() == before + 1
    del part
    assert mapped() == before
