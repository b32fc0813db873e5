"""Whether all processes are there, asked before JAX starts: where one is missing, it ends the others itself.

The first process listens at the port that JAX will take over. The others say who they are, and everybody goes
on when all have.
"""

from __future__ import annotations

import contextlib
import socket
import time

_AGAIN = 0.1  # seconds between two attempts to connect
_GO = b"go"
_NUMBER = 8  # bytes of a rank


class MissingError(TimeoutError):
    """Processes did not come in time; the message names them."""


def hold(host: str, port: int, rank: int, size: int, deadline: float) -> None:
    """Return when all ``size`` processes have called.

    Raises:
        MissingError: some have not until ``deadline``, on the clock ``time.monotonic``.
    """
    if rank:
        _answer(host, port, rank, deadline)
    else:
        _call(host, port, size, deadline)


def is_loopback(host: str) -> bool:
    """Return whether only this machine can be meant.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("node1")
    (True, True, False)
    """
    return host in ("localhost", "::1") or host.startswith("127.")


def _call(host: str, port: int, size: int, deadline: float) -> None:
    present: dict[int, socket.socket] = {}
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(_listen(host, port))
        while len(present) < size - 1:
            try:
                listening.settimeout(_remaining(deadline))
                connection = stack.enter_context(listening.accept()[0])
                connection.settimeout(_remaining(deadline))
                number = connection.recv(_NUMBER, socket.MSG_WAITALL)
            except TimeoutError:
                missing = [str(rank) for rank in range(1, size) if rank not in present]
                raise MissingError(f"process {', '.join(missing)} did not come") from None
            except ConnectionError:
                continue
            if len(number) == _NUMBER:
                present[int.from_bytes(number, "big")] = connection
        for connection in present.values():
            connection.sendall(_GO)


def _answer(host: str, port: int, rank: int, deadline: float) -> None:
    while True:
        try:
            with socket.create_connection((host, port), timeout=_remaining(deadline)) as connection:
                connection.sendall(rank.to_bytes(_NUMBER, "big"))
                if connection.recv(len(_GO), socket.MSG_WAITALL) == _GO:
                    return
        except OSError as error:  # nobody listens yet, or the name is not known yet
            if time.monotonic() >= deadline:
                raise MissingError(f"process 0 does not answer: {error}") from error
        if time.monotonic() >= deadline:
            raise MissingError("process 0 waits for others that did not come")
        time.sleep(_AGAIN)


def _listen(host: str, port: int) -> socket.socket:
    if is_loopback(host):
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


def _remaining(deadline: float) -> float:
    return max(0.01, deadline - time.monotonic())
