"""Threads that read and decode: a pool for each process and size, made when it is first needed.

A pool does not survive a fork (its threads are not there in the child), so the table's keys hold the process
id. No task that runs in a pool waits for another task of the same pool.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

_pools: dict[tuple[int, int, str], ThreadPoolExecutor] = {}

_MOST_DECODERS = 16


def default_threads() -> int:
    """Return how many processors this process may use, up to 16."""
    affinity = getattr(os, "sched_getaffinity", None)
    return min(_MOST_DECODERS, len(affinity(0)) if affinity else os.cpu_count() or 1)


def pool_of(threads: int, purpose: str = "parts") -> ThreadPoolExecutor:
    """Return the pool of this process with so many threads for a purpose."""
    key = (os.getpid(), threads, purpose)
    pool = _pools.get(key)
    if pool is None:
        # Two threads at once: one pool is used by both from then on, the other idles.
        pool = _pools.setdefault(key, ThreadPoolExecutor(threads, thread_name_prefix=f"befit-hdf5-{purpose}"))
    return pool


def run_parts(work: Callable[[range], None], count: int, parts: int) -> None:
    """Call ``work`` on ``parts`` parts of ``range(count)`` at once, one of them in this thread.

    Returns, or raises the first error, when all of them have ended; so does an interrupt, because the others
    write to memory that is given up afterwards.
    """
    if parts <= 1:
        work(range(count))
        return
    borders = [count * part // parts for part in range(parts + 1)]
    shares = [range(start, stop) for start, stop in itertools.pairwise(borders)]
    others: list[Future[None]] = []
    try:
        pool = pool_of(parts - 1)
        for share in shares[1:]:
            try:
                others.append(pool.submit(work, share))
            except RuntimeError:  # no thread starts any more while the interpreter ends
                work(share)
        work(shares[0])
    finally:
        _wait_for(others)
    for other in others:
        other.result()


def _wait_for(futures: list[Future[None]]) -> None:
    interrupt: BaseException | None = None
    while not all(future.done() for future in futures):
        try:
            wait(futures)
        except BaseException as error:  # noqa: BLE001 (raised below)
            interrupt = error
    if interrupt is not None:
        raise interrupt
