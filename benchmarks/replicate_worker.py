"""The process of a contender, or of one rank of it: does what it is asked through a pipe, until that closes.

    python -m benchmarks.replicate_worker FILE_DESCRIPTOR SPEC

No framework is imported before the process is pinned to its cores, so that thread pools are made for those.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Iterable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.replicate_models import Clock

_WARMING = 3


def pin(pid: int, cores: Iterable[int]) -> None:
    """Pin every thread of a process; those it starts later inherit it."""
    for thread in (Path("/proc") / str(pid) / "task").iterdir():
        os.sched_setaffinity(int(thread.name), cores)


class Worker:
    """Answers commands; each method is one."""

    def __init__(self, spec: dict[str, Any]) -> None:
        from benchmarks.replicate_keras import Fit, Loop
        from benchmarks.replicate_torch import Module

        self.spec = spec
        self.pids = [os.getpid()]
        self.warm: set[int] = set()
        self.contender: Any = {"fit": Fit, "loop": Loop, "module": Module}[spec["trains"]](
            spec["how"], devices=spec["devices"], count=spec["count"], rank=spec["rank"]
        )

    def build(self, work: str, rows: int) -> int:
        """Make and warm a model, pin the processes that started; return the bytes of its gradients."""
        self.contender.build(work)
        self.warm = set()
        self.contender.run(_WARMING, rows, Clock([]))
        helpers = self.contender.pids()
        for pid, core in zip(helpers, self.spec["helper_cores"], strict=False):
            pin(pid, {core})
        self.pids = [os.getpid(), *helpers]
        total = 0
        for shape in self.contender.shapes():
            size = 4
            for length in shape:
                size *= length
            total += size
        return total

    def steps(self, steps: int, rows: int) -> tuple[float, list[float], float]:
        """Return the seconds of a step by the clock, those of CPU by process, and all CPU that was used."""
        every = Clock(self.pids)
        every.start()
        if rows not in self.warm:  # a new shape compiles
            self.contender.run(1, rows, Clock([]))
            self.warm.add(rows)
        clock = Clock(self.pids)
        self.contender.run(steps, rows, clock)
        every.stop()
        return clock.wall / steps, [seconds / steps for seconds in clock.cpu], sum(every.cpu)

    def optimizer(self, times: int) -> float:
        return self.contender.optimizer_seconds(times)

    def exchange(self, times: int) -> tuple[float, float]:
        from benchmarks.replicate_keras import exchange_seconds

        exchange_seconds(self.contender.shapes(), 2)
        return exchange_seconds(self.contender.shapes(), times)

    def collective(self, times: int) -> float:
        return self.contender.collective_seconds(times)

    def close(self) -> None:
        self.contender.release()


def main(descriptor: str, text: str) -> None:
    spec = json.loads(text)
    os.sched_setaffinity(0, spec["cores"])
    pipe = Connection(int(descriptor))

    def answer(work: Any) -> Any:
        try:
            pipe.send((True, work()))
        except Exception:  # noqa: BLE001 - it is told to the one who asked
            pipe.send((False, traceback.format_exc()))

    workers: list[Worker] = []
    answer(lambda: workers.append(Worker(spec)))
    while workers:
        try:
            name, arguments = pipe.recv()
        except EOFError:
            workers.pop().close()
            return
        answer(lambda name=name, arguments=arguments: getattr(workers[0], name)(**arguments))


if __name__ == "__main__":
    main(*sys.argv[1:])
