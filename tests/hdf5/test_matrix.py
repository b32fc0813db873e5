"""HDF5Matrix: window, normalizer, what it is to NumPy and torch, and its errors."""

from __future__ import annotations

import copy
import importlib
import os
import pickle

import h5py
import numpy as np
import pytest

from befit import HDF5Matrix, normalize, to_categorical
from befit.errors import ArgumentError, DatasetError, DatasetNotFoundError, UnsupportedObjectError
from befit.hdf5.blocks import BlockDecoder


def test_positional_arguments_are_those_of_keras_2(path):
    x = HDF5Matrix(str(path), "x", 2, 5, np.negative)
    np.testing.assert_array_equal(x[:], -np.arange(6.0, 15).reshape(3, 3))
    assert (x.start, x.end, x.normalizer) == (2, 5, np.negative)


@pytest.mark.parametrize(
    ("start", "end"), [(0, None), (3, None), (3, 10), (10, 10), (0, 0), (np.int64(2), np.uint8(4))]
)
def test_the_window(path, start, end):
    array = np.arange(30.0).reshape(10, 3)[start:end]
    x = HDF5Matrix(path, "x", start, end)
    assert x.shape == array.shape
    np.testing.assert_array_equal(x, array)


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        (-1, None, "count from its beginning: -n is 10 - n"),
        (0, -1, "count from its beginning"),
        (0, 11, "dataset 'x' has 10 rows; write numbers up to 10"),
        (11, None, "write numbers up to 10"),
        (5, 4, "start has to be end or less"),
        (0.0, None, "write whole numbers"),
        ("1", None, "write whole numbers"),
        (None, None, "write whole numbers"),
    ],
)
def test_no_window_of_the_dataset(path, start, end, message):
    with pytest.raises(ArgumentError, match=message):
        HDF5Matrix(path, "x", start, end)


class TestNormalizer:
    def test_decides_shape_and_type(self, path):
        x = HDF5Matrix(
            path, "x", normalizer=lambda rows: rows.astype("int16").reshape(len(rows), 3, 1, 1)[:, :2]
        )
        assert (x.shape, x.dtype, x.ndim, x.size) == ((10, 2, 1, 1), np.dtype("int16"), 4, 20)
        assert x[..., 0].shape == (10, 2, 1)

    def test_always_gets_rows(self, path):
        """One row comes with its axis too, so a function of batches works for every index."""
        shapes = []
        x = HDF5Matrix(path, "x", normalizer=lambda rows: shapes.append(rows.shape) or rows)
        x[3], x[2:4], x[[5, 1, 1]]
        assert shapes == [(1, 3), (2, 3), (3, 3)]

    def test_is_asked_for_the_shape_once(self, path):
        calls = []
        x = HDF5Matrix(path, "x", normalizer=lambda rows: calls.append(len(rows)) or rows)
        assert calls == []
        _ = x.shape, x.dtype, x.ndim, x.size, x.shape
        assert calls == [1]

    def test_is_not_asked_about_nothing(self, path):
        """A normalizer that fails on no rows at all is not called with none, unless the window is empty."""
        x = HDF5Matrix(path, "x", normalizer=lambda rows: rows / rows.max())
        assert x[[]].shape == (0, 3)
        assert x[5:2].dtype == np.float32
        empty = HDF5Matrix(path, "x", 4, 4, normalizer=lambda rows: rows.sum(axis=1))
        assert (empty.shape, empty[:].shape, np.asarray(empty).shape) == ((0,), (0,), (0,))

    def test_may_return_tensors_and_lists(self, path):
        torch = importlib.import_module("torch")
        x = HDF5Matrix(path, "x", normalizer=torch.from_numpy)
        assert (x.shape, x.dtype) == ((10, 3), torch.float32)
        assert isinstance(x[[3, 1]], torch.Tensor)
        np.testing.assert_array_equal(x, np.arange(30).reshape(10, 3))
        assert HDF5Matrix(path, "y", normalizer=lambda rows: rows.tolist()).shape == (10,)

    def test_must_keep_the_rows(self, path):
        x = HDF5Matrix(path, "x", normalizer=lambda rows: rows.mean(axis=0))
        with pytest.raises(ArgumentError, match=r"made \(3,\) of rows \(2, 3\); it must keep the first axis"):
            x[:2]

    def test_errors_say_whose_they_are(self, path):
        x = HDF5Matrix(path, "x", normalizer=lambda rows: rows.reshape(7))
        with pytest.raises(ValueError, match="reshape") as caught:
            x[0]
        assert "raised by the normalizer of HDF5Matrix(" in caught.value.__notes__[0]

    def test_is_a_function(self, path):
        with pytest.raises(UnsupportedObjectError, match="normalizer is 255"):
            HDF5Matrix(path, "x", normalizer=255)


class TestArrays:
    def test_numpy_reads_it(self, path):
        x = HDF5Matrix(path, "x", 1, 9)
        array = np.asarray(x)
        assert array.dtype == np.float32
        assert np.asarray(x, dtype="float64").dtype == np.float64
        assert not np.shares_memory(np.array(x, copy=True), np.array(x, copy=True))
        np.testing.assert_allclose(np.mean(x, axis=0), array.mean(axis=0))
        with pytest.raises(ValueError, match="copy=False"):
            np.asarray(x, copy=False)

    def test_our_own_functions_read_it(self, path):
        np.testing.assert_array_equal(to_categorical(HDF5Matrix(path, "y", 0, 3)), np.eye(3))
        np.testing.assert_allclose(np.linalg.norm(normalize(HDF5Matrix(path, "x")), axis=1), 1, rtol=1e-6)

    def test_big_endian_files_come_out_native(self, tmp_path):
        """torch and JAX refuse every other byte order."""
        torch = importlib.import_module("torch")
        with h5py.File(tmp_path / "big.h5", "w") as file:
            file["x"] = np.arange(6, dtype=">f4").reshape(3, 2)
        x = HDF5Matrix(tmp_path / "big.h5", "x")
        for key in (slice(None), [2, 0], 1, slice(None, None, 2)):
            assert x[key].dtype == np.dtype("=f4")
        assert torch.from_numpy(x[:]).shape == (3, 2)

    def test_a_torch_dataset(self, path):
        """Batches come by __getitems__, order and values are those of the sampler."""
        data = importlib.import_module("torch.utils.data")
        x = HDF5Matrix(path, "x", 1, 9)
        loader = data.DataLoader(x, batch_size=3, sampler=[7, 0, 0, 4, 2])
        np.testing.assert_array_equal(np.concatenate([*loader]), np.asarray(x)[[7, 0, 0, 4, 2]])
        both = data.StackDataset(x, HDF5Matrix(path, "y", 1, 9))
        subset = data.Subset(both, [3, 1])
        rows, labels = next(iter(data.DataLoader(subset, batch_size=2)))
        np.testing.assert_array_equal(rows, np.asarray(x)[[3, 1]])
        assert labels.tolist() == [4, 2]


class TestErrors:
    def test_no_file(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"there is no HDF5 file: '.*nothing\.h5'"):
            HDF5Matrix(tmp_path / "nothing.h5", "x")

    def test_a_folder(self, tmp_path):
        with pytest.raises(DatasetError, match="is a folder"):
            HDF5Matrix(tmp_path, "x")

    def test_another_kind_of_file(self, tmp_path):
        (tmp_path / "a.txt").write_text("no HDF5")
        with pytest.raises(DatasetError, match=r"a\.txt is no HDF5 file"):
            HDF5Matrix(tmp_path / "a.txt", "x")

    def test_a_truncated_file(self, path):
        os.truncate(path, path.stat().st_size - 100)
        with pytest.raises(DatasetError, match=r"cannot be opened as an HDF5 file.*truncated"):
            HDF5Matrix(path, "x")

    def test_a_damaged_chunk(self, tmp_path):
        """An error instead of a wrong number, and the undamaged rows are still there."""
        with h5py.File(tmp_path / "a.h5", "w") as file:
            x = file.create_dataset(
                "x", data=np.arange(4000), chunks=(1000,), compression="gzip", fletcher32=True
            )
            chunk = x.id.get_chunk_info(2)
        with open(tmp_path / "a.h5", "r+b") as file:
            file.seek(chunk.byte_offset + chunk.size // 2)
            file.write(b"\xff\xff")
        x = HDF5Matrix(tmp_path / "a.h5", "x")
        np.testing.assert_array_equal(x[[3999, 0]], [3999, 0])
        with pytest.raises(DatasetError, match="cannot read dataset 'x'"):
            x[[0, 2500]]

    def test_no_such_dataset(self, path):
        with h5py.File(path, "a") as file:
            file["images/train"] = [1, 2]
        with pytest.raises(
            DatasetNotFoundError, match=r"there is no dataset 'images/tran'.*'images/train', 'x', 'y'"
        ):
            HDF5Matrix(path, "images/tran")
        with pytest.raises(DatasetNotFoundError, match="a group, no dataset, is called 'images'"):
            HDF5Matrix(path, "images")
        with pytest.raises(KeyError):
            HDF5Matrix(path, "")

    def test_a_file_without_datasets(self, tmp_path):
        h5py.File(tmp_path / "empty.h5", "w").close()
        with pytest.raises(DatasetNotFoundError, match="datasets in this file: none"):
            HDF5Matrix(tmp_path / "empty.h5", "x")

    def test_many_datasets_are_not_all_listed(self, tmp_path):
        with h5py.File(tmp_path / "many.h5", "w") as file:
            for i in range(30):
                file[f"part{i}"] = [i]
        with pytest.raises(DatasetNotFoundError, match=r"and 18 more$"):
            HDF5Matrix(tmp_path / "many.h5", "whole")

    def test_a_dataset_without_rows(self, path):
        with h5py.File(path, "a") as file:
            file["one"] = 3
            file["null"] = h5py.Empty("f4")
        with pytest.raises(DatasetError, match=r"'one' .*holds a single value and has no rows"):
            HDF5Matrix(path, "one")
        with pytest.raises(DatasetError, match=r"'null' .*is null"):
            HDF5Matrix(path, "null")

    def test_arguments_of_other_kinds(self, path):
        with pytest.raises(UnsupportedObjectError, match="datapath is 3"):
            HDF5Matrix(3, "x")
        with pytest.raises(UnsupportedObjectError, match="dataset is None"):
            HDF5Matrix(path, None)
        with pytest.raises(ArgumentError, match="cache_bytes is -1"):
            HDF5Matrix(path, "x", cache_bytes=-1)
        with pytest.raises(ArgumentError, match="threads is 0"):
            HDF5Matrix(path, "x", threads=0)


class TestCopies:
    def test_pickle_carries_everything_but_the_handle(self, path, monkeypatch, tmp_path):
        monkeypatch.chdir(path.parent)
        x = HDF5Matrix("data.h5", "x", 2, 9, normalizer=np.sqrt)
        _ = x.shape
        data = pickle.dumps(x)
        monkeypatch.chdir("/")  # a worker's folder is its own
        for again in (pickle.loads(data), copy.copy(x), copy.deepcopy(x)):
            assert repr(again) == repr(x)
            assert again.shape == x.shape
            np.testing.assert_array_equal(again[[3, 0]], x[[3, 0]])
        assert len(data) < 1500

    def test_a_changed_file_is_noticed(self, path):
        data = pickle.dumps(HDF5Matrix(path, "x"))
        with h5py.File(path, "w") as file:
            file["x"] = np.zeros((4, 3), "float32")
        with pytest.raises(DatasetError, match=r"was cut from 2248 to 2096 bytes .* make a new HDF5Matrix"):
            pickle.loads(data)[0]


def test_repr_is_how_it_is_made(path):
    assert repr(HDF5Matrix(path, "x", 1)) == f"HDF5Matrix({str(path)!r}, 'x', start=1, end=10)"


@pytest.mark.parametrize("cache_bytes", [0, None])
def test_iteration_decodes_a_chunk_once(tmp_path, monkeypatch, cache_bytes):
    """Whatever the window begins with, and whether or not chunks are kept."""
    rows = np.arange(700 * 500, dtype="float32").reshape(700, 500)
    with h5py.File(tmp_path / "large.h5", "w") as file:
        file.create_dataset("x", data=rows, chunks=(200, 500), compression="gzip", compression_opts=1)
    decoded = []
    decode = BlockDecoder.decode
    monkeypatch.setattr(
        BlockDecoder,
        "decode",
        lambda self, blocks, *where: decoded.extend(blocks) or decode(self, blocks, *where),
    )
    with HDF5Matrix(tmp_path / "large.h5", "x", start=30, end=650, cache_bytes=cache_bytes) as matrix:
        found = list(matrix)
    assert np.array_equal(found, rows[30:650])
    assert sorted(decoded) == [0, 1, 2, 3]
