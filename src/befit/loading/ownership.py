"""Which process an engine belongs to: a forked child inherits the object, and none of its workers."""

from __future__ import annotations

import os

from befit.errors import LoaderError


def check_owner(pid: int) -> None:
    """Raise unless the engine was started by this process.

    Raises:
        LoaderError: it was not; its messages are another process's to read.
    """
    if pid != os.getpid():
        raise LoaderError(
            "this epoch belongs to the process that began it; in a forked child, iterate over the loader anew"
        )


def closed_by_another_thread() -> LoaderError:
    """Return what is raised by a ``next`` that waits while ``Loader.close`` is called."""
    return LoaderError("the loader was closed while it was waited for, by another thread")
