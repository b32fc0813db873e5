"""Contenders in processes that live through all rounds, and rounds that tell when other programs worked."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

CORES = sorted(os.sched_getaffinity(0))
# What other programs may use of the machine, in cores, for a sample to count as undisturbed.
QUIET = 0.15
# Undisturbed samples that make a median.
_ENOUGH = 3
_ANSWER_SECONDS = 120
_TICK = os.sysconf("SC_CLK_TCK")


class ContenderError(Exception):
    """A contender cannot take part; the text says why."""


class Contender(NamedTuple):
    """What to run: see ``Fit``, ``Loop`` and ``Module`` for ``how``."""

    trains: str  # "fit", "loop", "module"
    how: str
    backend: str
    count: int = 1
    ranks: int = 1
    core: int = 0  # where those of one device run
    devices: Any = None


class Sample(NamedTuple):
    """Seconds of a step, and how many cores other programs used meanwhile."""

    wall: float
    cpu: float
    """CPU time of the busiest process, or of the busiest device where they share a process."""
    others: float


class Group:
    """The processes of a contender: one, or one for each rank."""

    def __init__(self, contender: Contender) -> None:
        self.contender = contender
        by_process = contender.ranks > 1 or contender.how in ("processes", "threads", "dataparallel")
        self.devices_in_process = 1 if by_process else contender.count
        self.processes: list[subprocess.Popen[bytes]] = []
        self.pipes: list[Any] = []
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        for rank in range(contender.ranks):
            ours, theirs = multiprocessing.Pipe()
            os.set_inheritable(theirs.fileno(), True)
            self.processes.append(
                subprocess.Popen(
                    [
                        sys.executable,
                        "-m",
                        "benchmarks.replicate_worker",
                        str(theirs.fileno()),
                        json.dumps(self._spec(rank)),
                    ],
                    env=os.environ | self._environment(rank, port),
                    pass_fds=[theirs.fileno()],
                    stdout=self.log,
                    stderr=self.log,
                    start_new_session=True,
                )
            )
            theirs.close()
            self.pipes.append(ours)

    def _spec(self, rank: int) -> dict[str, Any]:
        one = self.contender
        by_ranks, by_helpers = one.ranks > 1, one.how in ("processes",)
        if one.devices is not None:  # GPUs: the processors are not what is compared
            cores = CORES
        elif by_ranks or by_helpers or one.count == 1:
            cores = [CORES[(one.core + rank) % len(CORES)]]
        else:
            cores = CORES[: one.count]
        return {
            "trains": one.trains,
            "how": one.how,
            "count": one.count,
            "rank": rank,
            "cores": cores,
            "helper_cores": CORES[1:] if one.devices is None else [],
            "devices": one.devices or f"cpu:0..{one.count - 1}",
        }

    def _environment(self, rank: int, port: int) -> dict[str, str]:
        one = self.contender
        variables = {
            "KERAS_BACKEND": one.backend,
            "OMP_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }
        if one.devices is None:
            variables |= {
                "JAX_PLATFORMS": "cpu",
                "CUDA_VISIBLE_DEVICES": "-1",
                "ACCELERATE_USE_CPU": "true",
                "XLA_FLAGS": f"--xla_force_host_platform_device_count={one.count}",
            }
        else:
            variables["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # several processes share a GPU
        if one.ranks > 1:
            variables |= {
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(one.ranks),
                "LOCAL_WORLD_SIZE": str(one.ranks),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "GLOO_SOCKET_IFNAME": "lo",
            }
        return variables

    def ready(self) -> None:
        """Wait until every process has imported what it needs."""
        self._answers()

    def ask(self, command: str, **arguments: Any) -> list[Any]:
        """Give all ranks a command and return their answers."""
        self.tell(command, **arguments)
        return self._answers()

    def tell(self, command: str, **arguments: Any) -> None:
        for pipe in self.pipes:
            with contextlib.suppress(BrokenPipeError):  # its end is noticed when the answer is due
                pipe.send((command, arguments))

    def _answers(self) -> list[Any]:
        answers = []
        for pipe in self.pipes:
            if not pipe.poll(_ANSWER_SECONDS):
                raise ContenderError(f"no answer in {_ANSWER_SECONDS} s")
            try:
                succeeded, value = pipe.recv()
            except (EOFError, ConnectionResetError):
                self.log.seek(0)
                raise ContenderError(
                    f"ended by itself: {self.log.read().decode(errors='replace')[-2000:]}"
                ) from None
            if not succeeded:
                raise ContenderError(value)
            answers.append(value)
        return answers

    def build(self, work: str, rows: int) -> int:
        """Return the bytes of the gradients."""
        return self.ask("build", work=work, rows=rows)[0]

    def run(self, steps: int, rows: int) -> Sample:
        """Train for some steps."""
        return run_together([self], steps, rows)

    def close(self) -> None:
        for pipe in self.pipes:
            pipe.close()
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            with contextlib.suppress(ProcessLookupError):  # with what it may have started
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.log.close()


def run_together(groups: list[Group], steps: int, rows: int) -> Sample:
    """Let groups work at the same time; the times are their means, for the last one ends alone."""
    busy, started = _busy_seconds(), time.perf_counter()
    for group in groups:
        group.tell("steps", steps=steps, rows=rows)
    answers = [group._answers() for group in groups]
    elapsed = time.perf_counter() - started
    busy = _busy_seconds() - busy
    used = [[seconds for _, processes, _ in ranks for seconds in processes] for ranks in answers]
    others = max(0.0, busy - sum(total for ranks in answers for *_, total in ranks)) / elapsed
    longest = (max(seconds) / group.devices_in_process for group, seconds in zip(groups, used, strict=True))
    return Sample(
        statistics.fmean(max(wall for wall, *_ in ranks) for ranks in answers),
        statistics.fmean(longest),
        others,
    )


def _busy_seconds() -> float:
    """What all processors have worked so far, for anybody, what the host took from them included."""
    user, nice, system, _idle, _wait, *rest = map(
        int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    )
    return (user + nice + system + sum(rest)) / _TICK


class Rounds:
    """Samples of several ways of doing one thing."""

    def __init__(self, samples: dict[str, list[Sample]]) -> None:
        self.samples = samples
        enough = all(len(self._quiet(name)) >= _ENOUGH for name in samples)
        self.clock = "wall" if enough else "cpu"
        """What is compared: wall time, or CPU time where other programs left too few samples alone."""

    def _quiet(self, name: str) -> list[Sample]:
        return [sample for sample in self.samples[name] if sample.others <= QUIET]

    def seconds(self, name: str, clock: str | None = None) -> float:
        """Return the median of a step, over the undisturbed samples where there are enough."""
        quiet = self._quiet(name)
        samples = quiet if len(quiet) >= _ENOUGH else self.samples[name]
        return statistics.median(getattr(sample, clock or self.clock) for sample in samples)

    def count_quiet(self, name: str) -> str:
        return f"{len(self._quiet(name))} of {len(self.samples[name])}"

    def about(self) -> str:
        """Say what is compared, and under which load."""
        load = f"Load of the machine: {os.getloadavg()[0]:.1f} on {len(CORES)} cores."
        if self.clock == "wall":
            return f"Compared by the wall clock, undisturbed samples. {load}"
        return f"Other programs disturbed the samples: compared by CPU time, which leaves out waiting. {load}"


def play(ways: Mapping[str, Callable[[], Sample]], *, rounds: int = 5, limit: float = 20.0) -> Rounds:
    """Run all ways once a round, in changing order; repeat disturbed samples while there is time."""
    order = list(ways)
    shuffle = random.Random(0).shuffle
    samples: dict[str, list[Sample]] = {name: [] for name in ways}
    ends = time.monotonic() + limit
    for done in range(4 * rounds):
        late = time.monotonic() > ends
        if done >= rounds:
            order = [name for name in ways if sum(each.others <= QUIET for each in samples[name]) < rounds]
        if not order or (late and done >= _ENOUGH):
            break
        shuffle(order)
        for name in order:
            if not late:
                _wait_for_quiet()
            samples[name].append(ways[name]())
    return Rounds(samples)


def _wait_for_quiet(limit: float = 0.5, span: float = 0.04) -> None:
    ends = time.monotonic() + limit
    while time.monotonic() < ends:
        busy = _busy_seconds()
        time.sleep(span)
        if _busy_seconds() - busy <= QUIET * span + 1 / _TICK:
            return
