"""An HDF5Matrix behind a URL is the matrix of the same file on disk."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from befit import HDF5Matrix
from befit.errors import ArgumentError, DatasetError, DatasetNotFoundError
from befit.hdf5 import inspect

sys.path.append(str(Path(__file__).parent))
from range_server import RangeServer

ROWS = 500


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("remote") / "data.h5"
    rows = np.random.default_rng(0).integers(0, 50, (ROWS, 8, 3), "uint8")
    with h5py.File(path, "w") as file:
        file["contiguous"] = rows
        file.create_dataset("raw", data=rows, chunks=(1, 8, 3))
        file.create_dataset("gzip", data=rows, chunks=(7, 8, 3), compression="gzip", shuffle=True)
        file.create_dataset("split", data=rows, chunks=(16, 4, 2), compression="lzf")
        file.create_dataset("by h5py", data=[b"a" * (i % 5) for i in range(ROWS)], dtype=h5py.string_dtype())
    return path


@pytest.fixture
def server(path: Path) -> Iterator[RangeServer]:
    with RangeServer(path.read_bytes()) as server:
        yield server


NAMES = ["contiguous", "raw", "gzip", "split", "by h5py"]


@pytest.mark.parametrize("name", NAMES)
def test_every_layout_equals_the_file_on_disk(path, server, name):
    with HDF5Matrix(path, name, 3, 490) as here, HDF5Matrix(server.url, name, 3, 490) as there:
        assert there.layout.fast == here.layout.fast == (name != "by h5py")
        assert (there.shape, there.dtype) == (here.shape, here.dtype)
        order = np.random.default_rng(1).permutation(487)[:60]
        for key in (order, slice(5, 90), slice(None, None, -9), 17, [3, 3, -1]):
            np.testing.assert_array_equal(there[key], here[key])
        copied = pickle.loads(pickle.dumps(there))
        np.testing.assert_array_equal(copied[order], here[order])
        assert server.url in repr(there)


@pytest.mark.parametrize("shuffle", [True, "chunks", "batch", False])
def test_batches(path, server, shuffle):
    here = HDF5Matrix(path, "gzip", 2).batches(batch_size=33, shuffle=shuffle, seed=4, window_rows=60)
    there = HDF5Matrix(server.url, "gzip", 2, cache_bytes=4000).batches(
        batch_size=33, shuffle=shuffle, seed=4, window_rows=60
    )
    for index in range(len(here)):
        np.testing.assert_array_equal(here[index], there[index])


def test_a_forked_child_reads(path, server):
    expected = HDF5Matrix(path, "gzip")[:]
    x = HDF5Matrix(server.url, "gzip")
    x[:10]
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(x[::-1], expected[::-1]) else 1)
    assert os.waitpid(child, 0)[1] == 0
    np.testing.assert_array_equal(x[:], expected)


def test_a_batch_costs_few_requests(server):
    """The rows of a batch are neighbours enough to be joined, and what was decoded is not asked for again."""
    x = HDF5Matrix(server.url, "gzip")
    rows = np.random.default_rng(0).integers(0, ROWS, 64)
    before = server.requests
    x[rows]
    assert 1 <= server.requests - before <= 3
    before = server.requests
    x[rows]
    assert server.requests == before


def test_matrices_share_one_file(server):
    x = HDF5Matrix(server.url, "gzip")
    before = server.requests
    y = HDF5Matrix(server.url, "raw")
    y[[1, 2]]
    assert server.requests - before < 10
    assert x[0].shape == y[0].shape
    assert [layout.dataset for layout in inspect(server.url)] == sorted(NAMES)


def test_errors_name_the_url_and_no_secrets(path, server):
    url = server.url.replace("127.0.0.1", "user:secret@127.0.0.1") + "?token=secret"
    x = HDF5Matrix(url, "gzip")
    assert "secret" not in repr(x) + repr(x.layout) + x.explain()
    with pytest.raises(DatasetNotFoundError, match=r"there is no dataset 'no' in http") as caught:
        HDF5Matrix(url, "no")
    assert "secret" not in str(caught.value)
    x.close()
    with pytest.raises(DatasetError, match="is closed") as closed:
        x[0]
    assert "secret" not in str(closed.value)
    with pytest.raises(ArgumentError, match="storage_options are for URLs"):
        HDF5Matrix(path, "gzip", storage_options={})
    with RangeServer(b"no file" * 99) as other, pytest.raises(DatasetError, match="cannot be opened"):
        HDF5Matrix(other.url, "x")
