"""The memory of a download and of an extraction, each in a process of its own (Linux only)."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.files_data import Data, Workplace, scratch
from benchmarks.files_peers import absent, can
from benchmarks.files_server import served
from benchmarks.interleave import keep
from benchmarks.loading_measure import Verdict

_MOST = 40e6  # bytes


def memory() -> list[Verdict]:
    """The peak of a call above what the import took."""
    rows = []
    verdicts = []
    with scratch() as folder:
        place = Workplace(folder)
        works = {
            "1 GiB": place.random_file(1024),
            "20,000 files": place.many_files(),
            "6 files": place.few_files(),
        }
        with served(place.served) as server:
            for work, data in works.items():
                peaks = {
                    name: _peak(name, place, data, server)
                    for name in ("befit", "Keras", "pooch")
                    if name == "befit" or can(f"import {name.lower()}")
                }
                rows += [
                    (work, name, f"{grown / 1e6:.1f}", f"{(before + grown) / 1e6:.0f}")
                    for name, (grown, before) in peaks.items()
                ]
                verdicts.append(_verdict(work, peaks))
    keep("files memory", ("", "", "MB above the import", "MB at the peak"), rows, absent())
    return verdicts


def _peak(name: str, place: Workplace, data: Data, server: str) -> tuple[int, int]:
    url = f"{server}/{data.name}"
    command = [sys.executable, "-m", "benchmarks.files_peak", name, url, str(place.fresh()), data.name]
    grown, before = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return int(grown), int(before)


def _verdict(work: str, peaks: dict[str, tuple[int, int]]) -> Verdict:
    """Compare what a call takes; an import that has freed much, as that of Keras, makes it look small."""
    texts = {
        name: f"{grown / 1e6:.1f} MB ({(before + grown) / 1e6:.0f} MB with the import)"
        for name, (grown, before) in peaks.items()
    }
    others = ", ".join(f"{name} {text}" for name, text in texts.items() if name != "befit")
    reached = peaks["befit"][0] <= _MOST
    return Verdict(f"memory, {work}", texts["befit"], others, "-", f"<= {_MOST / 1e6:g} MB", reached)
