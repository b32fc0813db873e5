"""explain(): a layout in words, advice only where there is something to gain."""

from __future__ import annotations

import dataclasses
import re
import shlex
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from befit._internal.byte_counts import in_bytes
from befit.cli.main import build_parser
from befit.hdf5.explain import explain
from befit.hdf5.inspection import inspect
from befit.hdf5.layout import Filter, Layout
from befit.hdf5.packing import pack

DEFLATE = (Filter(1, (4,)),)


def layout(**changes: Any) -> Layout:
    """50,000 images of 32x32x3 in chunks of 32, half the size in the file."""
    made = Layout(
        path="data.h5",
        dataset="images",
        shape=(50000, 32, 32, 3),
        dtype=np.dtype("u1"),
        storage="chunked",
        chunk_shape=(32, 32, 32, 3),
        filters=DEFLATE,
        chunk_count=1563,
        stored_bytes=76_800_000,
        reason="",
    )
    return dataclasses.replace(made, **changes)


PLAIN = layout(filters=(), stored_bytes=153_600_000)
CONTIGUOUS = dataclasses.replace(PLAIN, storage="contiguous", chunk_shape=None, chunk_count=0)


def milliseconds(text: str) -> float:
    """Return the first estimate in a text."""
    found = re.search(r"about ([0-9.]+) ms \(estimate\)", text)
    assert found, text
    return float(found[1])


def test_contiguous_rows_need_no_advice() -> None:
    text = explain(CONTIGUOUS)
    assert text.splitlines() == [
        "images: 50000 rows of 32x32x3 uint8 (3.0 KiB each, 146.5 MiB together), in one piece",
        "Rows are copied straight from the file's bytes, without HDF5 and its lock.",
        "A random batch of 128 rows copies 384.0 KiB: about 0.06 ms (estimate), once the file is in memory.",
    ]


def test_chunks_without_filters_need_no_advice() -> None:
    text = explain(PLAIN)
    assert "in chunks of 32 rows (96.0 KiB), without filters" in text
    assert "Faster" not in text
    assert milliseconds(text) == milliseconds(explain(CONTIGUOUS))


def test_compressed_chunks_say_what_is_decoded_in_vain() -> None:
    """128 rows of 1563 chunks touch 123; the research measured 26 ms."""
    text = explain(layout())
    assert "touches about 123 chunks and decodes 11.5 MiB for 384.0 KiB wanted (30.7 times as much)" in text
    assert 15 < milliseconds(text) < 50
    assert "deflate (73.2 MiB in the file)" in text
    assert "0.06 ms once its chunks are in the cache" in text
    assert "Faster" not in text  # its chunks are small, and compressing was worth it
    assert "shuffle='chunks'" in text


def test_chunks_of_one_row_decode_nothing_in_vain() -> None:
    text = explain(layout(chunk_shape=(1, 32, 32, 3), chunk_count=50000))
    assert "in chunks of 1 row (3.0 KiB)" in text
    assert "(1.0 times as much)" in text
    assert len(text.splitlines()) == 3


def test_a_sentence_on_the_cache_is_put_in() -> None:
    lines = explain(layout(), cache="All of it fits into the cache.").splitlines()
    assert lines[2] == "All of it fits into the cache."
    assert len(lines) == len(explain(layout()).splitlines()) + 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stored_bytes": 148_000_000}, "--compression none`, to decode nothing at all"),
        ({"stored_bytes": 148_000_000}, "compression saves only 4%"),
        ({"stored_bytes": 160_000_000}, "compression saves only 0%"),
        ({"chunk_shape": (512, 32, 32, 3), "chunk_count": 98}, "to decode less in vain"),
        ({"chunk_shape": (64, 16, 16, 3)}, "to decode less in vain"),
        (
            {"chunk_shape": (64, 16, 16, 3), "chunk_count": 3128, "filters": ()},
            "--compression none`, so that each row is in one piece",
        ),
        (
            {"chunk_shape": (1, 32, 32, 3), "chunk_count": 500_000, "filters": ()},
            "to open the file 0.6 s faster (estimate)",
        ),
        ({"reason": "its filter szip is unknown", "filters": (Filter(4),)}, "to read it without h5py"),
        ({"storage": "virtual", "chunk_shape": None, "filters": (), "reason": "virtual"}, "without h5py"),
    ],
)
def test_advice_with_a_command_that_parses(changes: dict[str, Any], words: str) -> None:
    text = explain(layout(path="my data.h5", **changes))
    assert words in text
    command = re.search(r"`befit (.*?)`", text)
    assert command
    options = build_parser().parse_args(shlex.split(command[1]))
    assert (options.sources, options.out) == (["my data.h5"], "packed.h5")


@pytest.mark.parametrize(
    "changes",
    [
        {"reason": "this process has the file open for writing"},
        {"reason": "the file is open in SWMR mode"},
        {"reason": "some of its chunks lie beyond the end of the file"},
        {"dtype": np.dtype("O"), "reason": "its values have no fixed length"},
        {"shape": (100, 32, 32, 3), "stored_bytes": 300_000, "chunk_count": 4},
        {"path": "https://there/data.h5", "stored_bytes": 153_000_000},
    ],
)
def test_no_advice_where_packing_gains_nothing(changes: dict[str, Any]) -> None:
    assert "befit h5 pack" not in explain(layout(**changes))


def test_h5py_reads_it_and_why() -> None:
    text = explain(dataclasses.replace(layout(), reason="its filter szip is unknown"))
    assert "h5py reads it, one thread at a time, because its filter szip is unknown." in text
    assert milliseconds(text) > milliseconds(explain(layout()))
    assert "cache" not in text


def test_remote_rows_are_ranges() -> None:
    text = explain(dataclasses.replace(CONTIGUOUS, path="https://there/data.h5"))
    assert "ranges of the remote file" in text
    assert "asks for 384.0 KiB in up to 128 ranges at once: about 20 ms (estimate)" in text


def test_a_dataset_without_values() -> None:
    empty = dataclasses.replace(CONTIGUOUS, shape=(0, 3), reason="it has no values", stored_bytes=0)
    assert explain(empty).splitlines()[1:] == [
        "h5py reads it, one thread at a time, because it has no values."
    ]


@given(
    rows=st.integers(0, 10**9),
    chunk=st.integers(1, 10**6),
    row=st.integers(0, 10**4),
    stored=st.integers(0, 10**12),
    count=st.integers(0, 10**6),
    fast=st.booleans(),
    filters=st.sampled_from([(), DEFLATE, (Filter(2), Filter(32000)), (Filter(99999),)]),
    path=st.sampled_from(["x.h5", "s3://x/y.h5"]),
)
def test_every_layout_has_words(
    rows: int, chunk: int, row: int, stored: int, count: int, fast: bool, filters: Any, path: str
) -> None:
    made = layout(
        shape=(rows, row),
        chunk_shape=(chunk, max(1, row // 2)),
        stored_bytes=stored,
        chunk_count=count,
        reason="" if fast else "of something",
        filters=filters,
        path=path,
    )
    text = explain(made)
    assert "nan" not in text
    assert "inf" not in text.replace("info", "")
    assert all(line.strip() for line in text.splitlines())


def test_packing_does_what_the_advice_promises(tmp_path: Path) -> None:
    """Real files: after the command that explain() gives, explain() has no advice left."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (3000, 784), "u1")
    smooth = np.repeat(np.arange(8000.0), 256).reshape(-1, 256)
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file.create_dataset("noise", data=noise, chunks=(100, 784), compression="gzip")
        file.create_dataset("smooth", data=smooth, chunks=(2000, 256), compression="gzip")
        file.create_dataset("split", data=noise, chunks=(500, 28))
        file.create_dataset("scaled", data=noise.astype("i4"), chunks=(500, 784), scaleoffset=0)
    before = [explain(found) for found in inspect(str(tmp_path / "in.h5"))]
    assert all("befit h5 pack" in text for text in before)
    pack(tmp_path / "in.h5", tmp_path / "out.h5")
    after = [explain(found) for found in inspect(str(tmp_path / "out.h5"))]
    assert not any("befit h5 pack" in text for text in after)
    assert all(milliseconds(new) < milliseconds(old) for new, old in zip(after, before, strict=True))


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (1 << 30, "1.0 GiB"), (1 << 50, "1024.0 TiB")],
)
def test_bytes_as_people_write_them(count: int, text: str) -> None:
    assert in_bytes(count) == text
