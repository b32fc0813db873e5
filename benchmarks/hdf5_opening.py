"""How long it takes to open a file of 200,000 chunks, until its first row is there.

Each is measured in an interpreter of its own: `python -m benchmarks.hdf5_opening befit FILE` is one. The
libraries are imported before the clock starts, the file is in the page cache.
"""

from __future__ import annotations

import importlib
import json
import statistics
import subprocess
import sys
import time
from functools import partial

import h5py
import numpy as np

from benchmarks.hdf5_data import ROWS, Files, array
from benchmarks.hdf5_measure import loads
from benchmarks.hdf5_peers import Befit, H5py, Hidefix, Pyfive, PyTables
from benchmarks.interleave import in_turn, keep
from benchmarks.loading_measure import Verdict, spread

_DATA = "emb"
_LIMIT = "limit, chunk_iter of h5py"
_READERS = {
    "befit": Befit,
    "h5py, no table": H5py,
    "hidefix": Hidefix,
    "pyfive": Pyfive,
    "PyTables, no table": PyTables,
}
_LIBRARIES = {"hidefix": "hidefix", "pyfive": "pyfive", "PyTables, no table": "tables"}


def opening() -> list[Verdict]:
    """One row in a chunk, 200,000 of them, gzip."""
    with Files() as files:
        path = files.path(_DATA, 1, "gzip4")
        work = {name: partial(_alone, name, path) for name in (_LIMIT, *_READERS)}
        answers = in_turn(work, rounds=5)
    rows: list[tuple[str, ...]] = []
    notes = []
    for name, values in answers.items():
        reason = values[0].get("reason")
        if reason is None:
            rows.append(
                (
                    name,
                    *(spread([value[what] for value in values], 1e3, 0) for what in ("open", "row", "cpu")),
                )
            )
        else:
            notes.append(f"[{len(notes) + 1}] {reason}")
            rows.append((name, f"- [{len(notes)}]", "-", "-"))
    heads = ("", "ms to open (least - greatest)", "ms until the first row", "of them CPU ms")
    keep("hdf5 opening", heads, rows, "\n".join([*notes, loads()]))
    befit, limit = (statistics.median(v["row"] for v in answers[name]) for name in ("befit", _LIMIT))
    return [
        Verdict(
            f"opening, {ROWS[_DATA]:,} chunks",
            f"{befit:.3f} s",
            f"{_LIMIT} {limit:.3f} s",
            f"{befit / limit:.2f}",
            "<= 0.4 s",
            befit <= 0.4,
        )
    ]


def _alone(name: str, path: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.hdf5_opening", name, path]
    answer: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return answer


def _table(path: str) -> None:
    """What any reader that goes around libhdf5 has to ask of it, and no more."""
    with h5py.File(path, "r") as file:
        addresses = np.empty(ROWS[_DATA], np.int64)

        def note(info: h5py.h5d.StoreInfo) -> None:
            addresses[info.chunk_offset[0]] = info.byte_offset

        file[_DATA].id.chunk_iter(note)


def _measure(name: str, path: str) -> dict[str, object]:
    if name == _LIMIT:
        started, cpu = time.perf_counter(), time.process_time()
        _table(path)
        seconds = time.perf_counter() - started
        return {"open": seconds, "row": seconds, "cpu": time.process_time() - cpu}
    wanted = array(_DATA)[-1:]
    make = _READERS[name]
    try:
        importlib.import_module(_LIBRARIES.get(name, "befit.hdf5"))
        started, cpu = time.perf_counter(), time.process_time()
        reader = make(path, _DATA)
        opened = time.perf_counter()
        row = reader.slice(ROWS[_DATA] - 1, ROWS[_DATA])
        ended, cpu = time.perf_counter(), time.process_time() - cpu
    except (ImportError, OSError, RuntimeError) as error:
        if name == "befit":
            raise
        return {"reason": str(error).splitlines()[0]}
    if not np.array_equal(np.reshape(row, wanted.shape), wanted):
        raise RuntimeError(f"{name} read another row")
    return {"open": opened - started, "row": ended - started, "cpu": cpu}


if __name__ == "__main__":
    print(json.dumps(_measure(*sys.argv[1:])))
