"""How worker processes begin: what they inherit, what may stand between, and what if they cannot."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from befit import Sequence
from befit._internal import child
from befit.errors import LoaderError

DEADLINE = 60  # seconds until a test gives up waiting for something that must happen


@pytest.mark.parametrize("start", ["sys.exit(3)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_workers_that_cannot_start_are_an_error(processes, monkeypatch, children, start):
    """Not an endless row of processes."""
    before = children()
    monkeypatch.setattr(child, "_START", f"import os, signal, sys; {start}")
    loader = processes([1, 2, 3])
    with pytest.raises(LoaderError, match="worker processes end before they begin, 4 in a row; the last one"):
        list(loader)
    assert children() == before
    monkeypatch.undo()
    assert list(loader) == [1, 2, 3]


def test_a_source_that_kills_whoever_loads_it_is_an_error(processes):
    class Fatal(Sequence):
        def __len__(self):
            return 2

        def __getitem__(self, idx):
            return idx

        def __setstate__(self, state):
            os._exit(5)

        def __getstate__(self):
            return {"x": 1}

    with pytest.raises(LoaderError, match="the last one ended itself with exit code 5"):
        list(processes(Fatal()))


def test_the_interpreter_may_be_started_by_a_script(processes, monkeypatch, tmp_path):
    """Then the worker is the script's child; it ends with its socket, and not before."""
    wrapper = tmp_path / "python"
    wrapper.write_text(f'#!/bin/sh\n"{sys.executable}" "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(wrapper))

    class Slow(Sequence):
        def __len__(self):
            return 2

        def __getitem__(self, idx):
            time.sleep(1.5)  # longer than the worker goes without a look at its parent
            return idx

    assert list(processes(Slow())) == [0, 1]


def test_a_program_without_standard_streams(tmp_path):
    """A daemon has closed them: the worker's socket must not become its standard output."""
    script = tmp_path / "daemon.py"
    script.write_text(
        textwrap.dedent(f"""
            import contextlib, os
            os.closerange(0, 3)
            from befit import Loader, Sequence

            class Printing(Sequence):
                def __len__(self):
                    return 4

                def __getitem__(self, idx):
                    for stream in (1, 2):
                        with contextlib.suppress(OSError):
                            os.write(stream, b"x" * 100)
                    return idx

            with Loader(Printing(), workers=1, engine="processes") as loader:
                result = list(loader)
            with open({str(tmp_path / "result")!r}, "w") as file:
                file.write(str(result))
        """)
    )
    subprocess.run([sys.executable, script], check=False, timeout=DEADLINE)
    assert (tmp_path / "result").read_text() == "[0, 1, 2, 3]"


def test_workers_are_clean_interpreters(processes):
    """Nothing of the loader's process is inherited, so neither are its locks and the threads holding them."""

    class Looking(Sequence):
        def __len__(self):
            return 4

        def __getitem__(self, idx):
            return "pytest" in sys.modules, threading.active_count()

    for inherited, threads in processes(Looking()):
        assert not inherited
        assert threads == 2, "the worker's own, and the one that watches the loader"


def test_workers_hand_nothing_on_to_their_children(processes):
    """No blocked signal, and no end of their socket, which would keep it open."""

    class Inherited(Sequence):
        def __len__(self):
            return 2

        def __getitem__(self, idx):
            blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
            return blocked, [number for number in range(3, 256) if self.is_inheritable(number)]

        def is_inheritable(self, number):
            try:
                return os.get_inheritable(number)
            except OSError:
                return False

    assert list(processes(Inherited())) == [(set(), [])] * 2
