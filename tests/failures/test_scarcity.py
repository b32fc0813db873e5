"""Little of what the system has to give: descriptors, mappings, /dev/shm. Batches come all the same."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from befit import Sequence

DEADLINE = 60  # seconds until a test gives up waiting for something that must happen

SCRIPT = """
    import os, resource, sys
    import numpy as np
    from befit import Loader, Sequence

    class Large(Sequence):
        def __init__(self):
            self.x = np.ones(3_000_000)

        def __len__(self):
            return 60

        def __getitem__(self, idx):
            return np.full(500_000, idx, np.float32), self.x[:100_000] * idx

    {before}
    loader = Loader(Large(), workers=2, engine="processes", prefetch=3, timeout=30)
    for epoch in range(2):
        kept = []
        for index, (x, y) in enumerate(loader):
            assert (x == index).all() and (y == index).all()
            kept.append((x, y))
            {during}
        assert len(kept) == 60
        assert all((x == index).all() and (y == index).all() for index, (x, y) in enumerate(kept))
    {after}
    loader.close()
    print("fine")
"""


def run(before="", during="", after="", command=()):
    script = textwrap.dedent(SCRIPT).format(before=before, during=during, after=after)
    done = subprocess.run(
        [*command, sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "fine\n", "")


def test_kept_batches_hold_no_descriptors():
    """A hundred and twenty of them, with descriptors for a few."""
    run(
        before="resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))",
        after="assert len(os.listdir('/proc/self/fd')) < 20",
    )


def test_without_a_single_descriptor_left_batches_come_through_the_socket():
    """The loader's process runs out of them when the workers are there; they send again, another way."""
    run(
        during="""
            if index == 0 and epoch == 0:
                resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
        """.strip().replace("\n            ", "\n            ")
    )


def test_without_room_for_mappings_batches_come_through_the_socket():
    """As with a system's limit on the mappings of a process."""
    run(
        before="import befit.loading.batches as batches; Memory = batches.Memory",
        during="""
            if index % 7 == 0:
                def full(*_): raise OSError(12, "Cannot allocate memory")
                batches.Memory = full if index % 14 else Memory
        """.strip(),
    )


class Large(Sequence):
    """Batches with the number of slots that their worker has."""

    def __len__(self):
        return 80

    def __getitem__(self, idx):
        from befit.loading import building, empty

        array = empty(100_000, int) if idx % 2 else np.empty(100_000, int)
        array[:] = idx
        return len(building._workspace._pool._slots), array


def check(loader):
    for number, (slots, batch) in enumerate(loader):
        assert (batch == number).all()
        assert slots <= 10, "none is left behind"


def no_memory(*_):
    raise OSError(errno.ENOMEM, "Cannot allocate memory")


def test_slots_that_the_loader_cannot_map_are_given_up(processes, monkeypatch):
    monkeypatch.setattr("befit.loading.batches.Memory", no_memory)
    check(processes(Large(), prefetch=1))


def test_without_memory_for_slots_batches_come_through_the_socket(processes):
    class Poor(Large):
        def __getitem__(self, idx):
            from befit.loading import slots

            slots.create = no_memory
            return super().__getitem__(idx)

    check(processes(Poor(), prefetch=1))


def test_with_too_many_descriptors_on_their_way_batches_come_without(processes):
    """The system counts those of all processes of a user."""

    class Crowded(Large):
        def __getitem__(self, idx):
            def sendmsg(connection, buffers, ancillary=(), *rest):
                if ancillary:
                    raise OSError(errno.ETOOMANYREFS, "Too many references: cannot splice")
                return send(connection, buffers, ancillary, *rest)

            send = super(socket.socket, socket.socket).sendmsg
            socket.socket.sendmsg = sendmsg
            return super().__getitem__(idx)

    check(processes(Crowded(), prefetch=1))


@pytest.mark.skipif(not shutil.which("unshare") or os.geteuid() != 0, reason="needs root to mount")
def test_dev_shm_may_be_small_or_full():
    """A container gives it 64 MB, some 16; nothing of a batch is there."""
    shell = 'mount -t tmpfs -o size=1m tmpfs /dev/shm && exec "$@"'
    probe = subprocess.run(
        ["unshare", "--mount", "sh", "-c", shell, "sh", "true"], check=False, capture_output=True
    )
    if probe.returncode:
        pytest.skip("mounting is not allowed here")
    run(
        before="left = os.statvfs('/dev/shm').f_bavail; assert left * 4096 <= 1 << 20",
        after="assert os.statvfs('/dev/shm').f_bavail == left; assert os.listdir('/dev/shm') == []",
        command=["unshare", "--mount", "sh", "-c", shell, "sh"],
    )
