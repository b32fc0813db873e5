"""What runs in a worker process: receive the source, then tasks; send batches; end with the loader."""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
from typing import Any

from befit.loading.compute import compute
from befit.loading.failure import describe
from befit.loading.transport import Channel, Kind, Message, encode
from befit.typing import LoadResult

_PARENT_CHECK = 1000  # milliseconds


def main(descriptor: int, loader_pid: int) -> None:
    """Serve the loader at the other end of the socket ``descriptor`` until it hangs up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the loader's to handle
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    os.set_inheritable(descriptor, False)
    connection = socket.socket(fileno=descriptor)
    connection.setblocking(True)
    threading.Thread(target=_end_with, args=(connection, loader_pid), daemon=True).start()
    try:
        _serve(Channel(connection))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _end_with(connection: socket.socket, loader_pid: int) -> None:
    """End this process as soon as the loader is gone, also while ``__getitem__`` is busy or hangs."""
    hang_up = select.poll()
    hang_up.register(connection, 0)  # no event but the end of the connection
    # A child that the loader forked may hold the loader's end open, so the parent is looked at too.
    while not hang_up.poll(_PARENT_CHECK) and os.getppid() == loader_pid:
        pass
    os._exit(0)


def _serve(channel: Channel) -> None:
    source: Any = None
    while (message := channel.receive()) is not None:
        if message.kind is Kind.TASK:
            if source is not None:
                _answer(channel, compute(source, message.load(), global_generators=True))
            continue
        try:
            source = _updated(source, message)
        except Exception as error:  # noqa: BLE001 - whatever unpickling runs may fail in any way
            source = None
            channel.post(Kind.REFUSED, 0, encode(describe(error)))


def _updated(source: Any, message: Message) -> Any:
    news = message.load()
    if message.kind is Kind.SOURCE:
        return news
    news.apply(source)
    return source


def _answer(channel: Channel, result: LoadResult) -> None:
    if result.error is None:
        try:
            channel.post(Kind.BATCH, result.ticket, encode(result.batch))
            return
        except (BrokenPipeError, ConnectionResetError):
            raise
        except Exception as error:  # noqa: BLE001 - as in encode
            error.add_note("befit: the batch cannot be sent from a worker process; use engine='threads'")
            result = result._replace(error=error)
    assert result.error is not None
    channel.post(Kind.FAILURE, result.ticket, encode(describe(result.error)))
