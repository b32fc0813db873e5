"""Forked workers: copies of the loader's process, with all that it holds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import pytest

DEADLINE = 60  # seconds until a test gives up waiting for something that must happen

# In an interpreter of its own: the tests' process has JAX's threads, and JAX warns of every fork.
PREAMBLE = """
    import gc, os, signal, sys, threading, time
    import numpy as np
    from befit import Loader, Sequence
    from befit.errors import WorkerDiedError, WorkerTimeoutError

    def children():
        listed = open(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read().split()
        return {int(pid) for pid in listed}

    class Data(Sequence):
        def __init__(self):
            self.epoch = 0
            self.lock = threading.Lock()          # nothing of this can be pickled
            self.file = open(os.devnull)
            self.make = (number for number in [1])
            self.x = np.arange(1_000_000)

        def __len__(self):
            return 12

        def __getitem__(self, idx):
            with self.lock:
                return idx, self.epoch, os.getpid(), np.full(100_000, self.x[idx])

        def on_epoch_end(self):
            self.epoch += 1
            self.x += 1
"""


def run(code, *, stdout=subprocess.PIPE):
    script = textwrap.dedent(PREAMBLE) + textwrap.dedent(code)
    return subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=DEADLINE,
        check=False,
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
    )


def check(code):
    done = run(code)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_nothing_has_to_be_pickled_and_every_epoch_is_seen():
    """Locks, open files and generators are inherited; what on_epoch_end changed is inherited anew."""
    check("""
        with Loader(Data(), workers=2, engine="processes", start_method="fork") as loader:
            for epoch in range(3):
                got = list(loader)
                assert [item[:2] for item in got] == [(index, epoch) for index in range(12)]
                assert all((item[3] == item[0] + epoch).all() for item in got)
                assert os.getpid() not in {item[2] for item in got}
            assert len(children()) <= 4, "those of this epoch, and of the last, which may be about to end"
        assert not children()
        """)


def test_workers_of_the_epoch_before_leave_when_asked():
    """At the beginning of the next, which does not wait for them."""
    check("""
        with Loader(Data(), workers=2, engine="processes", start_method="fork") as loader:
            list(loader)
            before = children()
            epoch = iter(loader)
            next(epoch)
            for pid in before:
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            assert len(list(epoch)) == 11
        """)


def test_a_worker_has_no_end_of_a_socket_but_its_own():
    """Holding the loader's, it would not see that the loader is gone."""
    check("""
        class Sockets(Data):
            def __getitem__(self, idx):
                links = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
                return sum(os.readlink(link).startswith("socket:") for link in links if os.path.islink(link))

        before = Sockets()[0]
        with Loader(Sockets(), workers=3, engine="processes", start_method="fork") as loader:
            assert set(loader) == {before + 1}
        """)


def test_somebody_else_may_wait_for_the_workers():
    check("""
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system does, for all children
        with Loader(Data(), workers=2, engine="processes", start_method="fork") as loader:
            for _ in range(3):
                assert len(list(loader)) == 12
        """)


@pytest.mark.parametrize("start_method", ["spawn", "fork"])
def test_a_time_limit_of_the_program_for_sockets_is_not_for_the_workers(start_method):
    check(f"""
        import socket
        socket.setdefaulttimeout(1e-6)
        with Loader([0] * 50, workers=2, engine="processes", start_method="{start_method}") as loader:
            for _ in range(2):
                assert list(loader) == [0] * 50
            assert len(children()) <= 4
        """)


def test_a_killed_worker_loses_nothing():
    check("""
        with Loader(Data(), workers=2, engine="processes", start_method="fork") as loader:
            got = []
            for index, _, pid, _ in loader:
                got.append(index)
                if index in (0, 3):
                    os.kill(pid, signal.SIGKILL)
            assert got == list(range(12))
        """)


def test_output_of_a_worker_appears_once():
    out = check("""
        class Printing(Data):
            def __getitem__(self, idx):
                sys.stdout.write(f"batch {idx}\\n")  # in one piece
                return idx

        print("before")
        with Loader(Printing(), workers=2, engine="processes", start_method="fork") as loader:
            list(loader)
        print("after")
        """)
    assert sorted(out.split("\n")) == sorted(
        ["before", *(f"batch {index}" for index in range(12)), "after", ""]
    )


def test_a_lock_that_was_held_is_named_in_time():
    """The thread that holds it is not in the worker, so nobody will release it there: timeout says where."""
    check("""
        data = Data()
        held, release = threading.Event(), threading.Event()

        def hold():
            with data.lock:
                held.set()
                release.wait()

        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()
        with Loader(data, workers=2, engine="processes", start_method="fork", timeout=1) as loader:
            try:
                list(loader)
            except WorkerTimeoutError as error:
                assert "batch index 0 did not come within 1 s" in str(error), error
            else:
                raise AssertionError("no timeout")
        assert not children()
        release.set()
        thread.join()
        with Loader(data, workers=2, engine="processes", start_method="fork", timeout=30) as loader:
            assert len(list(loader)) == 12
        """)


@pytest.mark.parametrize("end", ["os._exit(0)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_no_orphans(end, wait_until_gone):
    done = run(f"""
        class Slow(Data):
            def __getitem__(self, idx):
                if idx > 2:
                    time.sleep(3600)
                return idx

        one, two = (
            Loader(Slow(), workers=2, engine="processes", start_method="fork", prefetch=1) for _ in range(2)
        )
        first, second = iter(one), iter(two)
        next(first), next(second)
        print(*children(), flush=True)
        {end}
        """)
    assert done.returncode in (0, -signal.SIGKILL)
    assert done.stderr == ""
    pids = {int(pid) for pid in done.stdout.split()}
    assert len(pids) == 4
    wait_until_gone(pids)


def test_an_interrupt_is_for_the_loader_alone(wait_until_gone):
    script = textwrap.dedent(PREAMBLE) + textwrap.dedent("""
        signal.signal(signal.SIGINT, signal.default_int_handler)

        class Slow(Data):
            def __getitem__(self, idx):
                if idx > 2:
                    time.sleep(3600)
                return idx

        try:
            for number in Loader(Slow(), workers=2, engine="processes", start_method="fork", prefetch=1):
                if number == 2:
                    print(*children(), flush=True)
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        """)
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        pids = {int(pid) for pid in process.stdout.readline().split()}
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=DEADLINE)
    finally:
        process.kill()
    assert (process.returncode, out, err) == (0, "interrupted\n", "")
    wait_until_gone(pids)


def test_a_worker_never_returns_into_the_program(tmp_path):
    """Not even when its last words find no room: what surrounds the loop runs once."""
    with open("/dev/full", "w") as full:
        done = run(
            f"""
        class Printing(Data):
            def __getitem__(self, idx):
                print("batch", idx)
                return idx

        try:
            with Loader(Printing(), workers=2, engine="processes", start_method="fork") as loader:
                list(loader)
        finally:
            with open({str(tmp_path / "ends")!r}, "a") as file:
                file.write(f"{{os.getpid()}}\\n")
        """,
            stdout=full,
        )
    assert len((tmp_path / "ends").read_text().split()) == 1, done.stderr


@pytest.mark.parametrize(("workers", "engine"), [(1, "processes"), (1, "threads")])
def test_a_forked_child_cannot_go_on_with_an_inherited_epoch(workers, engine):
    """It would read what is meant for its parent, or wait for threads that it does not have."""
    check(f"""
        from befit.errors import LoaderError

        class Numbers(Sequence):
            def __len__(self):
                return 9

            def __getitem__(self, idx):
                return idx

        loader = Loader(Numbers(), workers={workers}, engine={engine!r}, prefetch=2)
        epoch = iter(loader)
        assert next(epoch) == 0
        child = os.fork()
        if child == 0:
            try:
                list(epoch)
            except LoaderError as error:
                os._exit(0 if "belongs to the process that began it" in str(error) else 2)
            os._exit(3)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert list(epoch) == list(range(1, 9))
        loader.close()
        """)


def test_fork_is_for_processes():
    done = run("""Loader([1], workers=1, engine="threads", start_method="fork")""")
    assert "start_method='fork' is for engine='processes', and this one is 'threads'" in done.stderr
