"""One process at a time works on a target; the others wait and then find it done.

The lock saves work, it does not make anything correct: content goes to a file of its own and is renamed into
place when it is whole, so two processes that both believe they hold the lock only download twice.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import BaseFileLock

logger = logging.getLogger(__name__)


def lock_path(target: Path) -> Path:
    """Return the file that is locked by whoever works on ``target``."""
    return target.with_name(f".{target.name}.lock")


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file ``path``; where the file system has no locks, go on without one."""
    lock = _acquired(path)
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


def _acquired(path: Path) -> BaseFileLock | None:
    from filelock import FileLock, Timeout  # 30 ms, and a file that is in the cache needs no lock

    lock = FileLock(path)
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            logger.info("another process works on %s; waiting for it", path)
            lock.acquire()
    except (OSError, NotImplementedError) as error:
        logger.warning("cannot lock %s (%s); another process may do the same work again", path, error)
        return None
    return lock
