"""What runs in a worker process: receive the source, then tasks; send batches; end with the loader."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import threading
from contextlib import ExitStack
from typing import Any

from befit._internal.child import end_with_parent
from befit._internal.failure import describe
from befit._internal.memory import Descriptor
from befit._internal.pickling import Pickled, encode
from befit.loading.batches import Order, meta
from befit.loading.building import Filled, Workspace
from befit.loading.compute import compute
from befit.loading.notes import Notes
from befit.loading.segments import add_segment, forget_segments
from befit.loading.slots import Slot, SlotPool
from befit.loading.source_copy import SourceCopy
from befit.loading.transport import Channel, Kind, Message
from befit.typing import LoadTask


def main(descriptor: int, notes: int, loader_pid: int, spare_slots: int) -> None:
    """Serve the loader at the other end of the socket ``descriptor`` until it hangs up."""
    os.set_inheritable(descriptor, False)
    serve(socket.socket(fileno=descriptor), Notes(Descriptor(notes)), loader_pid, spare_slots)


def serve(
    connection: socket.socket, notes: Notes, loader_pid: int, spare_slots: int, source: Any = None
) -> None:
    """Serve the loader at the other end of ``connection``; a forked worker has its source already."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the loader's to handle
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    connection.setblocking(True)
    threading.Thread(target=end_with_parent, args=(connection, loader_pid), daemon=True).start()
    try:
        _Worker(Channel(connection), notes, spare_slots, source).serve()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


class _Worker:
    """The source, the slots and the channel of this process."""

    def __init__(self, channel: Channel, notes: Notes, spare_slots: int, source: Any) -> None:
        self._channel = channel
        self._notes = notes
        self._slots = SlotPool(spare_slots)
        self._copy = SourceCopy(source)
        self._surroundings = ExitStack()
        self._expected = 0  # bytes of the last large batch

    def serve(self) -> None:
        """Do what the messages say, one after the other."""
        while (message := self._channel.receive()) is not None:
            if message.kind is Kind.TASKS:
                self._follow(Order(*pickle.loads(message.parts[0])))
                continue
            try:
                self._learn(message)
            except Exception as error:  # noqa: BLE001 - whatever unpickling runs may fail in any way
                self._copy = SourceCopy()
                self._channel.post(Kind.REFUSED, 0, [pickle.dumps(describe(error))])

    def _learn(self, message: Message) -> None:
        if message.kind is Kind.SEGMENT:
            add_segment(message)
        elif message.kind is Kind.SURROUNDINGS:
            self._surroundings.close()
            for carried in pickle.loads(message.parts[0]):
                self._surroundings.enter_context(carried)
        else:
            self._copy.take(message.parts[0])
            forget_segments(pickle.loads(message.parts[1]))

    def _follow(self, order: Order) -> None:
        self._slots.give_back(order.released)
        self._slots.lose(order.lost)
        for task in order.tasks:
            ticket = task[0]
            if self._copy.source is not None and ticket >= self._notes.skip_below:
                self._notes.in_work = ticket
                self._do_task(*task)

    def _do_task(
        self, ticket: int, batch_index: int, seed: tuple[int, int] | None, through_socket: bool
    ) -> None:
        workspace = Workspace(self._slots, self._expected)
        with workspace:
            task = LoadTask(ticket, batch_index, seed)
            result = compute(self._copy.source, task, global_generators=True, restore=False)
        error = result.error
        if error is None:
            try:
                pickled = encode(result.batch)
            except Exception as failed:  # noqa: BLE001 - as in encode
                failed.add_note("befit: the batch cannot be sent from a worker process; use engine='threads'")
                error = failed
        if error is not None:
            workspace.discard()
            self._channel.post(Kind.FAILURE, ticket, [pickle.dumps(describe(error))])
            del result, error  # as in compute
            return
        times = result.seconds, result.cpu_seconds or 0.0
        del result  # nothing may refer to the slot but the code that built the batch
        filled = None
        if not through_socket:
            try:
                filled = workspace.fill(pickled)
            except OSError:  # no memory for a slot; the socket needs none
                filled = None
        self._send(ticket, times, pickled, filled)
        workspace.discard()

    def _send(self, ticket: int, times: tuple[float, float], pickled: Pickled, filled: Filled | None) -> None:
        dropped = self._slots.take_dropped()
        self._expected = 0 if filled is None else filled.nbytes
        parts: list[Any] = []
        if filled is None:
            parts = [pickled.pickle, *pickled.arrays]
        else:
            slot = filled.slot
            if slot is not None and self._send_slot(ticket, times, dropped, slot, filled.places):
                return
            parts = filled.parts()
        self._channel.post(Kind.BATCH, ticket, [meta(times, dropped), *parts])
        pickled.arrays.clear()

    def _send_slot(
        self,
        ticket: int,
        times: tuple[float, float],
        dropped: list[int],
        slot: Slot,
        places: list[tuple[int, int]],
    ) -> bool:
        new_nbytes = 0 if slot.is_known else slot.memory.nbytes
        head = meta(times, dropped, slot.number, new_nbytes, places)
        try:
            self._channel.post(Kind.BATCH, ticket, [head], slot.descriptor)
        except (BrokenPipeError, ConnectionResetError):
            raise
        except OSError:  # too many descriptors are on their way
            self._slots.put_back(slot)
            return False
        slot.sent()
        return True
