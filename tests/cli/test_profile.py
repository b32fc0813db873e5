"""``befit profile``: real sequences of a module in the current folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from befit.cli import profile as command
from befit.cli.main import main
from befit.loading.meter import Meter
from befit.loading.stats import LoaderStats

MODULE = '''
import os
import threading
import time
from pathlib import Path

import numpy as np
from befit import Loader, Sequence

class Waits(Sequence):
    """Batches that wait for a disk of 4 ms."""

    length, seconds = 24, 0.004

    def __len__(self):
        return self.length

    def __getitem__(self, idx):
        time.sleep(self.seconds)
        return np.full(3, idx)

class Cheap(Waits):
    seconds = 0.0

class Short(Waits):
    length = 4

class Empty(Waits):
    length = 0

class Broken(Waits):
    def __getitem__(self, idx):
        if idx == 3:
            raise KeyError("no such picture")
        return np.zeros(1)

class BrokenElsewhere(Waits):
    def __init__(self):
        self.here = os.getpid()

    def __getitem__(self, idx):
        if os.getpid() != self.here:
            raise KeyError("no such picture")
        return np.zeros(1)

class Stops(Waits):
    def __getitem__(self, idx):
        raise StopIteration

class HasLock(Waits):
    def __init__(self):
        self.lock = threading.Lock()

class Counts(Waits):
    """Notes each batch and each end of an epoch in a file."""

    length, seconds = 5, 0.0

    def __getitem__(self, idx):
        with Path("loaded").open("a") as file:
            file.write(f"{idx} ")
        return np.zeros(1)

    def on_epoch_end(self):
        with Path("loaded").open("a") as file:
            file.write("end ")

class Hangs(Waits):
    """Says which process it is in, and takes for ever."""

    def __getitem__(self, idx):
        Path(f"pid-{os.getpid()}").touch()
        time.sleep(1000)

def make():
    return Waits()

def needs(argument):
    return Waits()

class Callable(Waits):
    def __call__(self):
        raise TypeError("this is a sequence already")

ready = Waits()
also_ready = Callable()
loader = Loader(Waits(), workers=3, prefetch=2)
number = 7
'''


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Stand in a folder with a module of sequences, and return the module's name."""
    name = "sequences_to_profile"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield name
    sys.modules.pop(name, None)


@pytest.fixture
def profile(module: str, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Run ``befit profile --json`` on a name of the module, and return what it prints."""

    def run(name: str, *arguments: str) -> Any:
        assert main(["profile", f"{module}:{name}", "--json", *arguments]) == 0
        output = capsys.readouterr()
        assert output.err == ""
        assert output.out.count("\n") == 1
        return json.loads(output.out)

    return run


@pytest.mark.parametrize("name", ["Waits", "make", "ready", "also_ready"])
def test_an_epoch_as_the_loader_makes_it(name: str, profile: Callable[..., Any]) -> None:
    """A class, a function, an object: one epoch, without workers, as `fit(sequence)` loads it."""
    report = profile(name)
    assert (report["engine"], report["workers"], report["epochs"], report["batches"]) == ("inline", 0, 1, 24)
    assert report["worker_busy"] >= 24 * 0.004
    assert report["is_bottleneck"] is True
    assert "workers=" in report["advice"][0]


@pytest.mark.parametrize(
    ("arguments", "engine", "workers"),
    [
        (["--workers", "3"], "threads", 3),
        (["--engine", "threads"], "threads", 2),
        (["--engine", "processes"], "processes", 2),
        (["--engine", "processes", "--workers", "1", "--prefetch", "9"], "processes", 1),
        (["--engine", "inline"], "inline", 0),
    ],
)
def test_settings(arguments: list[str], engine: str, workers: int, profile: Callable[..., Any]) -> None:
    report = profile("Waits", *arguments)
    assert (report["engine"], report["workers"], report["batches"]) == (engine, workers, 24)
    assert report["prefetch"] == (9 if "--prefetch" in arguments else 4)
    assert report["worker_busy"] >= 24 * 0.004


def test_a_loader_keeps_its_settings_unless_others_are_given(profile: Callable[..., Any]) -> None:
    report = profile("loader")
    assert (report["engine"], report["workers"], report["prefetch"]) == ("threads", 3, 2)
    report = profile("loader", "--workers", "1")
    assert (report["engine"], report["workers"], report["prefetch"]) == ("threads", 1, 4)


def test_no_worker_is_left_behind(profile: Callable[..., Any]) -> None:
    """Also where somebody else goes on holding the loader, here its module."""
    profile("loader", "--batches", "2")
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("befit-loader")]


@pytest.mark.parametrize(
    ("batches", "loaded"),
    [
        ("3", "0 1 2 "),  # an epoch that is left early has no end
        ("5", "0 1 2 3 4 end "),
        ("7", "0 1 2 3 4 end 0 1 "),
    ],
)
def test_as_many_batches_as_asked_for(
    batches: str, loaded: str, profile: Callable[..., Any], tmp_path: Path
) -> None:
    report = profile("Counts", "--batches", batches, "--prefetch", "1")
    assert report["batches"] == int(batches)
    assert report["epochs"] == 1 + (batches == "7")
    # Prefetch asks for one batch more than was used; inline, nothing is computed before it is asked for.
    assert (tmp_path / "loaded").read_text() == loaded


def test_the_consumer_takes_a_step_for_each_batch(profile: Callable[..., Any]) -> None:
    report = profile("Cheap", "--step-ms", "3")
    assert report["consumer_busy"] >= 23 * 0.003  # nobody sees when the last step ends


def test_the_table(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", f"{module}:Waits"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("inline: 24 batches of 1 epoch in ")
    assert any(line.startswith("  consumer waits   ") for line in lines)
    assert lines[-2].startswith("- the consumer waits ")
    assert lines[-1] == (
        "- nothing was done with the batches: write --step-ms X, what your model takes for one"
    )
    assert main(["profile", f"{module}:Cheap", "--step-ms", "2"]) == 0
    assert "nothing was done" not in capsys.readouterr().out


def test_compare(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", f"{module}:Waits", "--compare", "--workers", "4", "--step-ms", "2.5"]) == 0
    inline, threads, processes, conclusion, *_ = capsys.readouterr().out.splitlines()
    assert inline.startswith("inline  ")
    assert threads.startswith("threads, 4 workers  ")
    assert processes.startswith("processes, 4 workers  ")
    assert all("batches/s, the consumer waits " in line for line in (inline, threads, processes))
    assert conclusion.startswith("fastest: Loader(sequence, workers=")
    assert "; with a step of 2.5 ms, " in conclusion


def test_compare_in_json(profile: Callable[..., Any]) -> None:
    report = profile("Cheap", "--compare", "--step-ms", "2")
    assert [engine["engine"] for engine in report["engines"]] == ["inline", "threads", "processes"]
    assert [engine["workers"] for engine in report["engines"]] == [0, 2, 2]
    assert report["fastest"] in ("inline", "threads", "processes")
    assert report["step_ms"] == 2


MS = 1e-3


def measured(engine: str, workers: int, *, wait: float, step: float, load: float) -> LoaderStats:
    """Return the numbers of 20 equal batches on 4 cores, in milliseconds."""
    now = 100.0
    meter = Meter(engine, workers, 4, cpus=4, clock=lambda: now)
    meter.begin_epoch(0)
    for index in range(20):
        asked = now
        now += wait * MS
        meter.delivered(asked, index, load * MS, 0)
        now += step * MS
    return meter.stats()


@pytest.mark.parametrize(
    ("step", "waits", "load", "lines"),
    [
        # milliseconds that the consumer waits for a batch: inline, with threads, with processes
        ("10", (20, 0, 0), 16, ["fastest: Loader(sequence, workers=2, engine='threads'); "
                                "with a step of 10 ms, 2 workers suffice"]),
        ("10", (20, 0, 0), 6, ["fastest: Loader(sequence, workers=2, engine='threads'); "
                               "with a step of 10 ms, 1 worker suffices"]),
        ("10", (0.3, 0.1, 0), 0.3, ["fastest: Loader(sequence, workers=0); "
                                    "with a step of 10 ms, no workers are needed"]),
        ("10", (20, 12, 10), 39, ["fastest: Loader(sequence, workers=2, engine='processes'); "
                                  "with a step of 10 ms, the consumer still waits",
                                  "- the consumer waits 50% of its time while the workers load 100% of "
                                  "theirs: write workers=4; to keep up takes 5, so make __getitem__ cheaper "
                                  "too"]),
        ("10", (20, 2, 3), 12, ["fastest: Loader(sequence, workers=2, engine='threads'); "
                                "with a step of 10 ms, the consumer still waits"]),
        ("10", (20, 20, 20), 20, ["fastest: Loader(sequence, workers=0); "
                                  "with a step of 10 ms, the consumer still waits",
                                  "- workers gain nothing: make __getitem__ cheaper, or put more samples "
                                  "into a batch"]),
        ("0", (20, 12, 10), 20, ["fastest: Loader(sequence, workers=2, engine='processes')",
                                 "- nothing was done with the batches: write --step-ms X, what your model "
                                 "takes for one"]),
    ],
)  # fmt: skip
def test_the_conclusion(
    step: str,
    waits: tuple[float, float, float],
    load: float,
    lines: list[str],
    module: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The simplest engine that is about as fast as any, and whether that is fast enough."""
    wait = dict(zip(("inline", "threads", "processes"), waits, strict=True))
    monkeypatch.setattr(
        command,
        "_measure",
        lambda loader, _: measured(
            loader.engine, loader.workers, wait=wait[loader.engine], step=float(step), load=load
        ),
    )
    assert main(["profile", f"{module}:Waits", "--compare", "--step-ms", step]) == 0
    assert capsys.readouterr().out.splitlines()[3:] == lines


def test_compare_where_an_engine_cannot(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A sequence with a lock goes into no process; the others are measured all the same."""
    assert main(["profile", f"{module}:HasLock", "--compare"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("processes              cannot: ")
    assert "lock" in lines[2]
    assert lines[3].startswith("fastest: ")


def test_compare_of_too_few_batches_names_no_winner(
    module: str, capsys: pytest.CaptureFixture[str], profile: Callable[..., Any]
) -> None:
    assert main(["profile", f"{module}:Short", "--compare"]) == 0
    assert capsys.readouterr().out.splitlines()[3].startswith("- too few batches to judge by: ")
    assert profile("Short", "--compare")["fastest"] is None


@pytest.mark.parametrize(
    ("name", "arguments", "code", "message"),
    [
        ("{}", [], 2, "'{}' names no sequence; write MODULE:NAME"),
        ("{}:Waits", ["--workers", "-1"], 2, "workers is -1; write a whole number of at least 0"),
        ("{}:Waits", ["--engine", "inline", "--workers", "2"], 2, "engine='inline' has no workers"),
        ("{}:Waits", ["--engine", "threads", "--workers", "0"], 2, "engine='threads' needs workers"),
        ("{}:Waits", ["--prefetch", "0"], 2, "prefetch is 0; write a whole number of at least 1"),
        ("{}:Waits", ["--compare", "--workers", "0"], 2, "--compare needs workers; write --workers 1"),
        ("no_such_module:Waits", [], 1, "cannot import 'no_such_module'"),
        ("{}:Absent", [], 1, "module '{}' has no 'Absent'"),
        ("{}:needs", [], 1, "{}:needs cannot be called without arguments: missing a required argument: "
                            "'argument'; name a function that makes the sequence"),
        ("{}:number", [], 1, "int is no source of batches; it needs __len__ and __getitem__(index)"),
        ("{}:Empty", [], 1, "Empty has no batches: its len() is 0; name one that has some"),
        ("{}:HasLock", ["--engine", "processes"], 1, "lock"),
        ("{}:Stops", ["--compare"], 1, "__getitem__(0) raised StopIteration"),
    ],
)  # fmt: skip
def test_what_cannot_be_profiled(
    name: str, arguments: list[str], code: int, message: str, module: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["profile", name.format(module), *arguments]) == code
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("befit profile: ")
    assert output.err.count("\n") == 1
    assert message.format(module) in output.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: MODULE:SEQUENCE"),
        (["m:s", "--batches", "0"], "'0' is no number of batches; write 1 or more"),
        (["m:s", "--batches", "x"], "'x' is no number of batches"),
        (["m:s", "--step-ms", "-1"], "'-1' is no time; write milliseconds, such as 12.5"),
        (["m:s", "--step-ms", "inf"], "'inf' is no time"),
        (["m:s", "--step-ms", "soon"], "'soon' is no time"),
        (["m:s", "--engine", "fork"], "invalid choice: 'fork'"),
        (["m:s", "--engine", "threads", "--compare"], "not allowed with argument"),
    ],
)
def test_wrong_usage(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["profile", *arguments])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("Broken", []),
        ("Broken", ["--engine", "processes"]),
        ("Broken", ["--compare"]),
        ("BrokenElsewhere", ["--compare"]),
    ],
)
def test_an_error_in_the_sequence_keeps_its_type(name: str, arguments: list[str], module: str) -> None:
    with pytest.raises(KeyError, match="no such picture"):
        main(["profile", f"{module}:{name}", *arguments])


def test_ctrl_c_ends_the_workers(module: str, tmp_path: Path) -> None:
    """Exit code 130, one line, and no process that goes on loading."""
    code = (
        "import signal, sys; from befit.cli.main import main; "
        "signal.signal(signal.SIGINT, signal.default_int_handler); "
        f"sys.exit(main(['profile', '{module}:Hangs', '--engine', 'processes']))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while len(files := list(tmp_path.glob("pid-*"))) < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == "befit profile: interrupted\n"
    for file in files:
        with pytest.raises(ProcessLookupError):
            os.kill(int(file.name.removeprefix("pid-")), 0)
