"""A file that is in the cache already, and an archive that is extracted already."""

from __future__ import annotations

import shutil
from collections.abc import Callable

from benchmarks import files_peers as peers
from benchmarks.files_data import Data, Workplace, scratch
from benchmarks.files_measure import show, within
from benchmarks.files_server import served
from benchmarks.hdf5_measure import Samples, wall
from benchmarks.interleave import in_turn
from benchmarks.loading_measure import Verdict

_ROUNDS = 5


def warm() -> list[Verdict]:
    """1 GiB with its digest; the 20,000 files of an archive."""
    with scratch() as folder:
        place = Workplace(folder)
        large, many = place.random_file(1024), place.many_files()
        with served(place.served) as server:
            whole = _again(place, large, f"{server}/{large.name}", extract=False)
            members = _again(place, many, f"{server}/{many.name}", extract=True)
    show("files warm", whole, "befit", scale=1e3, unit="ms", note=f"{large.size:,} bytes, sha256.")
    show("files warm extracted", members, "befit", scale=1e3, unit="ms", note="20,000 files.")
    return [
        within("warm hit, 1 GiB, sha256", whole, _slowest(whole), 1e-3),
        within("warm hit, 20,000 files extracted", members, _slowest(members), 2e-3),
    ]


def _again(place: Workplace, data: Data, url: str, *, extract: bool) -> Samples:
    """Seconds of each way when it has been called before.

    The first call downloads; the second, of a round that is not kept, may note what it found.
    """
    folder = place.fresh()
    for name in ("befit", "keras", "pooch"):
        (folder / name).mkdir()
    ways: list[tuple[str, str | None, peers.Way]] = [
        ("befit", None, lambda folder: peers.befit(data, url, folder / "befit", untar=extract)),
        ("Keras", "import keras", lambda folder: peers.keras(data, url, folder / "keras", extract=extract)),
        ("pooch", "import pooch", lambda folder: peers.pooch(data, url, folder / "pooch", extract=extract)),
        ("limit: stat", None, lambda folder: (folder / "befit").stat()),
    ]
    called: dict[str, Callable[[], float]] = {}
    for name, way in peers.offered(ways):
        way(folder)  # the download
        called[name] = wall(lambda way=way: way(folder))  # type: ignore[misc]
    samples = in_turn(called, rounds=_ROUNDS)
    shutil.rmtree(folder)
    return samples


def _slowest(samples: Samples) -> str:
    return "Keras" if "Keras" in samples else "limit: stat"
