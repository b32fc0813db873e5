"""pack(): what goes in comes out, in a layout that suits."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from befit.errors import ArgumentError, DatasetError, UnsupportedObjectError
from befit.hdf5 import HDF5Matrix
from befit.hdf5.packing import pack, packer
from befit.hdf5.packing.choice import COMPRESSIONS

SMOOTH = np.repeat(np.arange(4096, dtype="float32"), 256).reshape(4096, 256)  # 4 MiB that shrink
NOISE = np.random.default_rng(0).integers(0, 256, (2048, 32, 32), "uint8")  # 2 MiB that do not

dtypes = st.one_of(
    npst.scalar_dtypes().filter(lambda dtype: dtype.kind not in "U" and dtype.itemsize),
    npst.byte_string_dtypes(min_len=1),
    st.just(np.dtype([("a", ">f4"), ("b", "i1", (2,))])),
)


def only(packed: Any) -> Any:
    (dataset,) = packed.datasets
    return dataset


@given(
    array=dtypes.flatmap(lambda d: npst.arrays(d, npst.array_shapes(max_dims=4, max_side=7, min_side=0))),
    compression=st.sampled_from([None, *COMPRESSIONS]),
    chunk_rows=st.none() | st.integers(1, 9),
    shuffle=st.booleans(),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_goes_in_comes_out(
    array: np.ndarray, compression: Any, chunk_rows: int | None, shuffle: bool, tmp_path: Path
) -> None:
    """Law: rows, type and order (or the promised other order) survive any layout."""
    if compression in ("zstd", "blosc2"):
        pytest.importorskip("hdf5plugin")
    out = tmp_path / "out.h5"
    options = {"compression": compression, "chunk_rows": chunk_rows, "shuffle_rows": shuffle, "seed": 3}
    pack({"x": array}, out, overwrite=True, **options)
    order = np.random.default_rng(3).permutation(len(array)) if shuffle else slice(None)
    with h5py.File(out) as file:
        found = file["x"][...]
        assert file["x"].dtype.isnative
    expected = array[order].astype(array.dtype.newbyteorder("="))
    for rows in (found, HDF5Matrix(out, "x")[:]):
        assert (rows.dtype, rows.shape) == (expected.dtype, expected.shape)
        assert rows.tobytes() == expected.tobytes()


@pytest.mark.parametrize("block", [5000, 50_000, 1 << 30])
@pytest.mark.parametrize("compression", [None, "gzip", "lzf"])
def test_rows_of_many_blocks_and_chunks_keep_their_places(
    block: int, compression: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Oracles: h5py, and befit's own reader, which wants every chunk to be whole."""
    monkeypatch.setattr(packer, "_BLOCK", block)
    rows = {"x": NOISE[:500], "y": NOISE[:500].view(">i4"), "z": NOISE[:500, 0, 0]}
    packed = pack(rows, tmp_path / "x.h5", compression=compression, chunk_rows=7)
    for dataset in packed.datasets:
        name = dataset.layout.dataset
        assert dataset.layout.fast
        with h5py.File(tmp_path / "x.h5") as file:
            np.testing.assert_array_equal(file[name][:], rows[name])
        np.testing.assert_array_equal(HDF5Matrix(tmp_path / "x.h5", name)[::-1], rows[name][::-1])


@pytest.mark.parametrize("name", ["numpy", "memmap", "dataset", "matrix", "list", "fortran"])
def test_sources_of_every_kind(name: str, tmp_path: Path) -> None:
    rows = np.arange(60, dtype="float64").reshape(20, 3)
    np.save(tmp_path / "x.npy", rows)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", data=rows, chunks=(7, 2), compression="gzip")
    with h5py.File(tmp_path / "x.h5") as file, HDF5Matrix(tmp_path / "x.h5", "x") as matrix:
        source = {
            "numpy": rows,
            "memmap": np.load(tmp_path / "x.npy", mmap_mode="r"),
            "dataset": file["x"],
            "matrix": matrix,
            "list": rows.tolist(),
            "fortran": np.asfortranarray(rows),
        }[name]
        for shuffle in (False, True):
            pack({"g/x": source}, tmp_path / "o.h5", shuffle_rows=shuffle, seed=1, overwrite=True)
            order = np.random.default_rng(1).permutation(20) if shuffle else slice(None)
            with h5py.File(tmp_path / "o.h5") as out:
                np.testing.assert_array_equal(out["g/x"][:], rows[order])


def test_a_matrix_is_packed_as_its_normalizer_makes_it(path: Path, tmp_path: Path) -> None:
    matrix = HDF5Matrix(path, "x", start=2, normalizer=lambda rows: rows.reshape(len(rows), 3, 1) / 2)
    pack({"x": matrix}, tmp_path / "out.h5")
    with h5py.File(tmp_path / "out.h5") as file:
        np.testing.assert_array_equal(file["x"][:], np.arange(6.0, 30).reshape(8, 3, 1) / 2)


def test_all_datasets_get_the_same_random_order(tmp_path: Path) -> None:
    x = np.arange(1000)
    packed = pack({"x": x, "y": x * 2, "one": np.float32(4)}, tmp_path / "o.h5", shuffle_rows=True, seed=7)
    assert [dataset.layout.dataset for dataset in packed.datasets] == ["x", "y"]
    with h5py.File(tmp_path / "o.h5") as file:
        assert (file["y"][:] == file["x"][:] * 2).all()
        assert sorted(file["x"][:]) == x.tolist() != file["x"][:].tolist()
        assert file["one"][()] == 4


def test_shuffling_wants_equal_lengths(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="same number of rows: 'x' 3, 'y' 4"):
        pack({"x": np.zeros(3), "y": np.zeros(4)}, tmp_path / "o.h5", shuffle_rows=True)
    assert list(tmp_path.iterdir()) == []


def test_auto_compresses_what_shrinks_and_nothing_else(tmp_path: Path) -> None:
    packed = pack({"smooth": SMOOTH, "noise": NOISE, "small": SMOOTH[:100]}, tmp_path / "o.h5")
    noise, small, smooth = packed.datasets
    assert (noise.layout.storage, small.layout.storage, smooth.layout.storage) == (
        "contiguous",
        "contiguous",
        "chunked",
    )
    assert "saves only" in noise.reason
    assert "smaller than 1 MiB" in small.reason
    assert "times smaller" in smooth.reason
    assert smooth.layout.chunk_shape == (32, 256)  # 32 KiB
    assert smooth.layout.stored_bytes * 10 < smooth.layout.nbytes
    assert all(dataset.layout.fast and dataset.layout.path == packed.path for dataset in packed.datasets)
    assert packed.nbytes == (tmp_path / "o.h5").stat().st_size
    assert packed.to_dict()["datasets"][0]["why"] == noise.reason


def test_bytes_are_shuffled_where_that_helps(tmp_path: Path) -> None:
    walk = np.cumsum(np.random.default_rng(0).integers(0, 99, 1 << 19)).astype("int64")
    layout = only(pack({"x": walk}, tmp_path / "o.h5")).layout
    assert [f.name for f in layout.filters] == ["shuffle", "deflate"]


def test_order_of_the_sample_is_the_order_of_the_file(tmp_path: Path) -> None:
    """Equal neighbours that shuffling parts are no reason to compress."""
    runs = np.repeat(np.random.default_rng(0).integers(0, 1 << 62, 1 << 13), 32)
    assert only(pack({"x": runs}, tmp_path / "a.h5")).layout.filters
    assert not only(pack({"x": runs}, tmp_path / "b.h5", shuffle_rows=True, seed=0)).layout.filters


def test_large_contiguous_data_begins_at_a_page(tmp_path: Path) -> None:
    pack({"a": np.zeros(3, "u1"), "x": NOISE}, tmp_path / "o.h5")
    with h5py.File(tmp_path / "o.h5") as file:
        assert file["x"].id.get_offset() % 4096 == 0


def test_the_same_input_gives_the_same_file(tmp_path: Path) -> None:
    for name in ("a.h5", "b.h5"):
        pack({"x": SMOOTH, "y": NOISE}, tmp_path / name)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_dtype_converts_floating_point_numbers_only(tmp_path: Path) -> None:
    pack({"x": np.linspace(0, 1, 9), "y": np.arange(9)}, tmp_path / "o.h5", dtype="float32")
    with h5py.File(tmp_path / "o.h5") as file:
        assert (file["x"].dtype, file["y"].dtype) == (np.float32, np.int64)
        np.testing.assert_array_equal(file["x"][:], np.linspace(0, 1, 9).astype("float32"))


@pytest.mark.parametrize("shuffle", [False, True])
def test_memory_stays_bounded(shuffle: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source of 64 MiB, blocks of 1 MiB."""
    monkeypatch.setattr(packer, "_BLOCK", 1 << 20)
    monkeypatch.setattr(packer, "_SHUFFLED_BLOCK", 1 << 20)
    np.lib.format.open_memmap(tmp_path / "x.npy", "w+", "u1", (1 << 12, 1 << 14)).flush()
    source = np.load(tmp_path / "x.npy", mmap_mode="r")
    tracemalloc.start()
    pack({"x": source}, tmp_path / "o.h5", compression=None, shuffle_rows=shuffle)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12 << 20


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"compression": "zip"}, "compression is 'zip'; write None or one of 'auto', 'gzip'"),
        ({"chunk_rows": 0}, "chunk_rows is 0; write"),
        ({"chunk_rows": "many"}, "chunk_rows is 'many'; write"),
        ({"image_size": (0, 3)}, "the height in image_size is 0; write"),
        ({"image_size": 224}, r"image_size is 224; write \(height, width\)"),
        ({"dtype": "int32"}, "dtype is int32; write a floating-point type"),
        ({"seed": "x", "shuffle_rows": True}, "seed is 'x'; write"),
    ],
)
def test_arguments_that_cannot_work(options: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=words):
        pack({"x": np.zeros(3)}, tmp_path / "o.h5", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("sources", "error", "words"),
    [
        ([], ArgumentError, "nothing to pack"),
        ({"": [1]}, ArgumentError, "'' is no name"),
        ({3: [1]}, ArgumentError, "3 is no name"),
        ({"x/y": [1], "x": [2]}, ArgumentError, "'x' .* and 'x/y' .* cannot be in one file"),
        ([{"x": [1]}, {"x": [2]}], ArgumentError, "'x' .* and 'x' .* cannot be in one file"),
        (np.zeros(3), UnsupportedObjectError, "write a path, or for sources a dictionary"),
        ("https://there/x.h5", ArgumentError, "is a URL"),
        ({"x": ["text"]}, UnsupportedObjectError, r"array 'x' is text of type <U4; write np.char.encode"),
        ({"x": [object()]}, UnsupportedObjectError, "array 'x' is of type object"),
    ],
)
def test_sources_that_cannot_work(sources: Any, error: type, words: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=words):
        pack(sources, tmp_path / "o.h5")
    assert list(tmp_path.iterdir()) == []


def test_a_source_that_changes_its_shape_is_an_error(tmp_path: Path) -> None:
    class Liar:
        shape, dtype = (10, 2), np.dtype("f4")

        def __getitem__(self, rows: slice) -> np.ndarray:
            return np.zeros((len(range(*rows.indices(9))), 2), "f4")

    with pytest.raises(DatasetError, match=r"array 'x' gave an array \(9, 2\) where \(10, 2\)"):
        pack({"x": Liar()}, tmp_path / "o.h5")
    assert list(tmp_path.iterdir()) == []
