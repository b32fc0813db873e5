"""Archives: extracted by befit and its peers, and on the way from a slow server."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from befit.files.archive import archive_formats
from befit.files.extract import extract as extract_archive
from befit.files.limits import Limits
from benchmarks import files_peers as peers
from benchmarks.files_data import Data, Workplace, scratch
from benchmarks.files_measure import Ways, in_fresh_folders, no_less_than, no_more_than, show
from benchmarks.files_server import served
from benchmarks.loading_measure import Verdict

_ROUNDS = 5
_SLOW_ROUNDS = 3
_SLOW = 10e6  # bytes a second of all connections together


def extract() -> list[Verdict]:
    """A tar.gz of 20,000 files and one of 6; the archive is in the cache, the files are not."""
    verdicts = []
    with scratch() as folder:
        place = Workplace(folder)
        for work, data, wanted in (
            ("tar.gz of 20,000 files", place.many_files(), 3.5),
            ("tar.gz of 6 files", place.few_files(), None),
        ):
            samples = in_fresh_folders(
                place, _extracting(data), rounds=_ROUNDS, prepare=partial(_put_into_caches, data)
            )
            title = f"files extract {data.name.partition('.')[0]}"
            show(title, samples, "stdlib filter='data'", note=f"{work}: {data.size:,} bytes.")
            if wanted is not None:
                verdicts.append(no_less_than(work, samples, "stdlib filter='data'", wanted))
    return verdicts


def _put_into_caches(data: Data, folder: Path) -> None:
    (folder / "datasets").mkdir()
    os.link(data.path, folder / "datasets" / data.name)


def _extracting(data: Data) -> Ways:
    archive = data.path
    ways: list[tuple[str, str | None, peers.Way]] = [
        ("stdlib filter='data'", None, partial(peers.stdlib_tar, archive)),
        ("befit", None, lambda folder: peers.befit(data, archive.as_uri(), folder, untar=True)),
        ("befit, the extractor alone", None, partial(_extractor, archive)),
        ("Keras", "import keras", partial(peers.keras_tar, archive)),
        ("pooch", "import pooch", partial(peers.pooch_tar, archive)),
        ("GNU tar", "tar", partial(peers.program_tar, "tar", archive)),
        ("bsdtar", "bsdtar", partial(peers.program_tar, "bsdtar", archive)),
    ]
    return dict(peers.offered(ways))


def _extractor(archive: Path, folder: Path) -> None:
    with archive.open("rb") as file:
        extract_archive(
            file,
            archive.stat().st_size,
            folder,
            name=archive.name,
            formats=archive_formats("auto"),
            limits=Limits(),
            wanted=None,
            label=archive.name,
        )


def overlap() -> list[Verdict]:
    """20,000 files from a server of 10 MB/s: in one call, and downloaded first."""
    with scratch() as folder:
        place = Workplace(folder)
        data = place.many_files()
        with served(place.served, total=_SLOW) as server:
            url = f"{server}/{data.name}"
            samples = in_fresh_folders(place, _arriving(data, url), rounds=_SLOW_ROUNDS)
    base = "befit, one after the other"
    show("files overlap", samples, base, note=f"{data.size:,} bytes at {_SLOW / 1e6:g} MB/s.")
    return [no_more_than("20,000 files at 10 MB/s, against serial", samples, base, 0.8)]


def _arriving(data: Data, url: str) -> Ways:
    ways: list[tuple[str, str | None, peers.Way]] = [
        ("befit, one after the other", None, partial(_serial, data, url)),
        ("befit", None, lambda folder: peers.befit(data, url, folder, untar=True)),
        ("Keras", "import keras", lambda folder: peers.keras(data, url, folder, extract=True)),
        ("pooch", "import pooch", lambda folder: peers.pooch(data, url, folder, extract=True)),
        ("limit: curl | tar", "curl", partial(peers.piped_tar, url)),
    ]
    return dict(peers.offered(ways))


def _serial(data: Data, url: str, folder: Path) -> None:
    peers.befit(data, url, folder)
    peers.befit(data, url, folder, untar=True)
