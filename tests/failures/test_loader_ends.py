"""Loaders that are closed, dropped, interrupted or killed: never an orphan."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from befit import Loader, Sequence
from befit.loading.processes import ProcessEngine
from befit.typing import LoadResult, LoadTask

DEADLINE = 60  # seconds until a test gives up waiting for something that must happen


def test_close_ends_the_workers_and_iterating_starts_new_ones(processes, numbered_pids, wait_until_gone):
    loader = processes(numbered_pids())
    first = {pid for _, pid in loader}
    loader.close()
    wait_until_gone(list(first))
    second = {pid for _, pid in loader}
    assert not first & second


def test_leaving_the_with_block_ends_busy_workers(tmp_path, children):
    """Also in the middle of an epoch, with batches in work that take for ever."""

    class Slow(Sequence):
        def __len__(self):
            return 8

        def __getitem__(self, idx):
            if idx:
                time.sleep(3600)
            return os.getpid()

    before = children()
    with Loader(Slow(), workers=2, engine="processes") as loader:
        next(iter(loader))
        assert len(children() - before) == 2
    assert children() == before


def test_a_loader_that_is_dropped_ends_its_workers(numbered_pids, children, wait_until_gone):
    """Nobody called close, and the epoch was left in the middle."""
    before = children()
    loader = Loader(numbered_pids(), workers=2, engine="processes")
    for _ in loader:
        break
    workers = children() - before
    assert len(workers) == 2
    del loader
    gc.collect()
    wait_until_gone(list(workers))


LOADS = """
    import os, signal, sys, time
    from befit import Loader, Sequence

    class Pids(Sequence):
        def __len__(self):
            return 1000

        def __getitem__(self, idx):
            if idx > 40:
                {busy}
            return os.getpid()

    loader = Loader(Pids(), workers=2, engine={engine!r}, prefetch=30)
    pids = set()
    for number, pid in enumerate(loader):
        pids.add(pid)
        if number == 40:
            break_off = iter(loader)  # keeps the loader in use
            break
    print(*pids, flush=True)
    {end}
"""


def run_script(tmp_path, *, busy="pass", end="", engine="processes", wait=True):
    """Start a script without main guard; return its process and the pids of its workers."""
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(LOADS).format(busy=busy, end=end, engine=engine))
    process = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    pids = [int(pid) for pid in process.stdout.readline().split()]
    if wait:
        process.stdout.close()
        assert process.wait(DEADLINE) is not None
    return process, pids


@pytest.mark.parametrize(
    ("busy", "end"),
    [
        ("pass", "os._exit(0)"),
        ("pass", "os.kill(os.getpid(), signal.SIGKILL)"),
        ("time.sleep(3600)", "os.kill(os.getpid(), signal.SIGKILL)"),
        ("exec('while True: pass')", "os.kill(os.getpid(), signal.SIGKILL)"),
    ],
)
def test_workers_end_when_the_loader_dies(tmp_path, end, busy, wait_until_gone):
    """Idle, asleep or in an endless loop: no orphan, and no noise."""
    process, pids = run_script(tmp_path, busy=busy, end=end)
    try:
        wait_until_gone(pids)
        assert process.stderr.read() == ""
    finally:
        process.stderr.close()


def test_workers_end_though_a_child_of_the_loader_lives_on(tmp_path, wait_until_gone):
    """It has inherited the loader's ends of the sockets, so those stay open."""
    end = "os.fork() and os.kill(os.getpid(), signal.SIGKILL); print(os.getpid(), flush=True); signal.pause()"
    process, pids = run_script(tmp_path, busy="time.sleep(3600)", end=end, wait=False)
    with process:
        child = int(process.stdout.readline())
        try:
            wait_until_gone(pids)
        finally:
            os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("engine", ["processes", "threads"])
@pytest.mark.parametrize("busy", ["pass", "time.sleep(3600)"])
def test_workers_end_with_the_interpreter(tmp_path, engine, busy, wait_until_gone):
    """A script that simply ends, with the loader open and busy, ends."""
    process, pids = run_script(tmp_path, busy=busy, engine=engine)
    try:
        assert process.returncode == 0
        assert process.stderr.read() == ""
        wait_until_gone(pids)
    finally:
        process.stderr.close()


def test_ctrl_c_is_for_the_loader_alone(tmp_path, wait_until_gone):
    """The signal goes to the whole group; the workers print nothing and end with the loader."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
            import os, signal, time
            from befit import Loader, Sequence

            signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it

            class Slow(Sequence):
                def __len__(self):
                    return 100

                def __getitem__(self, idx):
                    if idx > 3:
                        time.sleep(3600)
                    return os.getpid()

            pids = set()
            try:
                for number, pid in enumerate(Loader(Slow(), workers=2, engine="processes")):
                    pids.add(pid)
                    if number == 3:
                        print(*pids, flush=True)
            except KeyboardInterrupt:
                print("interrupted", flush=True)
        """)
    )
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        pids = [int(pid) for pid in process.stdout.readline().split()]
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=DEADLINE)
    finally:
        process.kill()
    assert (process.returncode, out, err) == (0, "interrupted\n", "")
    wait_until_gone(pids)


def test_ctrl_c_does_not_reach_a_worker_that_is_just_born():
    """Before it can ignore the signal, the signal is blocked."""
    engine = ProcessEngine(1, tasks_ahead=1)
    try:
        engine.start([10, 20])
        (worker,) = engine._workers
        os.kill(worker.pid, signal.SIGINT)
        engine.submit(LoadTask(0, 1))
        assert engine.next_ready(DEADLINE)[:3] == LoadResult(0, 20)[:3]
        assert engine._workers == [worker]
    finally:
        engine.close()


def test_a_loader_started_in_a_thread_outlives_the_thread(processes, numbered_pids):
    """Workers belong to the process, not to the thread that started them."""
    loader = processes(numbered_pids())
    first = []
    thread = threading.Thread(target=lambda: first.extend(loader))
    thread.start()
    thread.join(DEADLINE)
    assert {pid for _, pid in loader} <= {pid for _, pid in first}


@pytest.mark.parametrize("engine", ["processes", "threads"])
def test_a_forked_child_starts_workers_of_its_own(tmp_path, engine):
    """The child neither uses nor ends the workers of its parent. (A script: JAX would object to the fork.)"""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
            import os, threading
            from befit import Loader, Sequence

            class Workers(Sequence):
                def __len__(self):
                    return 8

                def __getitem__(self, idx):
                    return os.getpid(), threading.get_native_id()

            with Loader(Workers(), workers=1, engine={engine!r}) as loader:
                (parents,) = set(loader)
                child = os.fork()
                if child == 0:
                    (childs,) = set(loader)
                    loader.close()
                    os._exit(0 if childs != parents else 1)
                assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
                assert set(loader) == {{parents}}
        """)
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", script],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_epochs_leave_no_descriptor_thread_or_process_behind(processes, numbered_pids, children):
    """After many epochs, broken off and complete, there is what there was after the first."""

    def counted():
        return len(os.listdir("/proc/self/fd")), threading.active_count(), len(children())

    loader = processes(numbered_pids())
    list(loader)
    before = counted()
    for number in range(30):
        for index, _ in loader:
            if number % 3 == 0 and index == 4:
                break
    assert counted() == before
