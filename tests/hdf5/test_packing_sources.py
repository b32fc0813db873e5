"""pack() of files: .npy, .npz, HDF5."""

from __future__ import annotations

import re
import shutil
import tracemalloc
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from befit.errors import ArgumentError, DatasetError, UnsupportedObjectError
from befit.hdf5 import HDF5Matrix
from befit.hdf5.inspection import inspect
from befit.hdf5.packing import pack, packer


def same(found: Path, expected: dict[str, np.ndarray]) -> None:
    with h5py.File(found) as file:
        for name, array in expected.items():
            assert file[name].dtype == array.dtype
            np.testing.assert_array_equal(file[name][...], array)


@pytest.mark.parametrize("shuffle", [False, True])
def test_numpy_files(shuffle: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packer, "_BLOCK", 100)
    arrays = {
        "a": np.arange(60, dtype="f4").reshape(20, 3),
        "b": np.asfortranarray(np.arange(40).reshape(20, 2)),
        "c": np.arange(20).astype(">i2"),
    }
    np.save(tmp_path / "x.npy", arrays["a"])
    np.savez(tmp_path / "plain.npz", **arrays)
    np.savez_compressed(tmp_path / "small.npz", **arrays, one=np.float64(3))
    order = np.random.default_rng(1).permutation(20) if shuffle else slice(None)
    expected = {name: array[order].astype(array.dtype.newbyteorder("=")) for name, array in arrays.items()}
    options = {"shuffle_rows": shuffle, "seed": 1}
    pack(tmp_path / "x.npy", tmp_path / "x.h5", **options)
    same(tmp_path / "x.h5", {"x": expected["a"]})
    pack(str(tmp_path / "plain.npz"), tmp_path / "plain.h5", **options)
    same(tmp_path / "plain.h5", expected)
    pack([tmp_path / "small.npz", tmp_path / "x.npy"], tmp_path / "small.h5", **options)
    same(tmp_path / "small.h5", {**expected, "x": expected["a"], "one": np.asarray(3.0)})


def test_a_compressed_archive_is_unpacked_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packer, "_BLOCK", 1 << 20)
    np.savez_compressed(tmp_path / "x.npz", x=np.zeros((1 << 12, 1 << 13), "u1"))  # 32 MiB
    tracemalloc.start()
    pack(tmp_path / "x.npz", tmp_path / "x.h5")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12 << 20


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "y.npz", "short.npz", "x.h5", "z.npy"])
def test_damaged_files_are_errors_that_name_them(name: str, tmp_path: Path) -> None:
    source = tmp_path / "in" / name
    source.parent.mkdir()
    rows = np.random.default_rng(0).integers(0, 9, (5000, 8))
    if name == "x.npy":
        np.save(source, rows)
        source.write_bytes(source.read_bytes()[:-9000])
    elif name == "x.npz":
        np.savez_compressed(source, x=rows)
        data = bytearray(source.read_bytes())
        data[5000:6000] = bytes(1000)
        source.write_bytes(data)
    elif name == "short.npz":  # the archive is sound, its array is not
        with zipfile.ZipFile(source, "w") as archive, archive.open("x.npy", "w") as member:
            np.lib.format.write_array(member, rows)
        with zipfile.ZipFile(source) as archive:
            data = archive.read("x.npy")
        with zipfile.ZipFile(source, "w") as archive:
            archive.writestr("x.npy", data[:-8])
    elif name == "y.npz":
        source.write_bytes(b"PK nothing")
    elif name == "z.npy":
        np.save(source, np.array([{}], dtype=object), allow_pickle=True)
    else:
        with h5py.File(source, "w") as file:
            file.create_dataset("x", data=rows, compression="gzip", chunks=(1000, 8))
            place = file["x"].id.get_chunk_info(2).byte_offset
        data = bytearray(source.read_bytes())
        data[place : place + 50] = bytes(50)
        source.write_bytes(data)
    with pytest.raises(DatasetError, match=re.escape(name)):
        pack(source, tmp_path / "out.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_missing_sources_are_named(tmp_path: Path) -> None:
    for name in ("x.npy", "x.npz", "x.h5", "folder"):
        with pytest.raises(FileNotFoundError, match=re.escape(name)):
            pack(tmp_path / name, tmp_path / "out.h5")
    (tmp_path / "text.txt").write_text("no data")
    with pytest.raises(DatasetError, match=r"text\.txt is no HDF5 file"):
        pack(tmp_path / "text.txt", tmp_path / "out.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]


@pytest.mark.parametrize("shuffle", [False, True])
def test_every_layout_of_an_hdf5_file(layouts: Path, tmp_path: Path, shuffle: bool) -> None:
    """Oracle: h5py on the source."""
    packed = pack(layouts, tmp_path / "out.h5", shuffle_rows=shuffle, seed=2)
    with h5py.File(layouts) as source, h5py.File(tmp_path / "out.h5") as found:
        for dataset in packed.datasets:
            name = dataset.layout.dataset
            order = np.random.default_rng(2).permutation(len(source[name])) if shuffle else slice(None)
            np.testing.assert_array_equal(found[name][:], source[name][:][order])
            assert dataset.layout.fast, dataset
    found_names = [dataset.layout.dataset for dataset in packed.datasets]
    assert found_names == [layout.dataset for layout in inspect(str(layouts))]


@pytest.mark.parametrize("compression", ["zstd", "blosc2"])
def test_a_file_that_needs_plugins(compression: str, tmp_path: Path) -> None:
    pytest.importorskip("hdf5plugin")
    rows = np.arange(9000).reshape(3000, 3)
    pack({"x": rows}, tmp_path / "a.h5", compression=compression)
    pack(tmp_path / "a.h5", tmp_path / "b.h5", compression="gzip")
    same(tmp_path / "b.h5", {"x": rows})


def test_everything_else_of_an_hdf5_file_is_kept(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["pad"] = np.zeros(100)
        other["x"] = np.arange(50.0)
    color = h5py.enum_dtype({"red": 1, "blue": 2}, basetype="i2")
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file.attrs["title"] = "a file"
        file.attrs["numbers"] = np.arange(3, dtype=">i4")
        file.attrs["empty"] = h5py.Empty("f4")
        file.attrs["words"] = ["a", "böse"]
        file.attrs.create("pair", np.ones((1, 2), "f4"), dtype=np.dtype(("f4", (2,))))
        group = file.create_group("deep/empty")
        group.attrs["of group"] = b"bytes"
        x = file.create_dataset("deep/x", data=np.arange(12).reshape(4, 3), maxshape=(None, 3))
        x.attrs["unit"] = "m"
        file["text"] = ["one", "zwölf"]
        file.create_dataset("ragged", (2,), h5py.vlen_dtype("i4"))[0] = [1, 2, 3]
        file.create_dataset("colors", data=[1, 2, 2], dtype=color)
        file["scalar"] = 3.5
        file["scalar"].attrs["unit"] = "s"
        file["name"] = "words"
        file["null"] = h5py.Empty("f4")
        file["type"] = np.dtype("f8")
        file["no rows"] = np.zeros((0, 3))
        file["hard"] = file["deep/x"]
        file["deep/loop"] = file["/"]
        file["soft"] = h5py.SoftLink("/deep/x")
        file["nowhere"] = h5py.SoftLink("/no/such")
        file["external"] = h5py.ExternalLink("other.h5", "/x")
        file["axis"] = np.arange(4.0)
        file["axis"].make_scale("rows")
        x.dims[0].attach_scale(file["axis"])
        x.dims[0].label = "row"
    pack(tmp_path / "in.h5", tmp_path / "out.h5", compression="gzip")
    with h5py.File(tmp_path / "in.h5") as source, h5py.File(tmp_path / "out.h5") as file:
        assert dict(file.attrs)["title"] == "a file"
        assert list(file.attrs["numbers"]) == [0, 1, 2]
        assert isinstance(file.attrs["empty"], h5py.Empty)
        assert list(file.attrs["words"]) == ["a", "böse"]
        assert file.attrs["pair"].tolist() == [[1, 1]]
        assert file["deep/empty"].attrs["of group"] == "bytes"
        assert file["deep/x"].attrs["unit"] == "m"
        assert (file["deep/x"][:] == source["deep/x"][:]).all()
        assert list(file["text"].asstr()) == ["one", "zwölf"]
        assert file["ragged"][0].tolist() == [1, 2, 3]
        assert h5py.check_enum_dtype(file["colors"].dtype) == {"red": 1, "blue": 2}
        assert (file["scalar"][()], file["scalar"].attrs["unit"]) == (3.5, "s")
        assert file["name"].asstr()[()] == "words"
        assert file["null"].shape is None
        assert file["type"].dtype == np.float64
        assert file["no rows"].shape == (0, 3)
        assert file["hard"] == file["deep/x"]
        assert file["deep/loop"] == file["/"]
        assert file.get("soft", getlink=True).path == "/deep/x"
        assert file.get("nowhere", getlink=True).path == "/no/such"
        assert file["external"][:].tolist() == list(range(50))
        assert file.get("external", getlink=True).__class__ is h5py.HardLink
        assert file["deep/x"].dims[0]["rows"] == file["axis"]
        assert file["deep/x"].dims[0].label == "row"
        assert set(source) == set(file)


def test_references_are_refused(tmp_path: Path) -> None:
    """They would point nowhere."""
    for place in ("data", "one", "attribute"):
        with h5py.File(tmp_path / "in.h5", "w") as file:
            file["x"] = np.arange(3)
            if place == "attribute":
                file["x"].attrs["see"] = file["x"].ref
            elif place == "one":
                file.create_dataset("r", data=file["x"].ref, dtype=h5py.ref_dtype)
            else:
                file.create_dataset("r", (2,), np.dtype([("a", "i4"), ("b", h5py.ref_dtype)]))
        with pytest.raises(UnsupportedObjectError, match="holds references to other objects"):
            pack(tmp_path / "in.h5", tmp_path / "out.h5")
        assert [path.name for path in tmp_path.iterdir()] == ["in.h5"]


def test_a_virtual_dataset_is_whole_or_an_error(tmp_path: Path) -> None:
    """HDF5 itself gives fill values in place of a file that is missing."""
    with h5py.File(tmp_path / "part.h5", "w") as file:
        file["x"] = np.arange(5)
    layout = h5py.VirtualLayout((5,), "i8")
    layout[:] = h5py.VirtualSource("part.h5", "x", (5,))
    with h5py.File(tmp_path / "all.h5", "w") as file:
        file.create_virtual_dataset("x", layout)
    pack(tmp_path / "all.h5", tmp_path / "out.h5")
    same(tmp_path / "out.h5", {"x": np.arange(5)})
    (tmp_path / "part.h5").unlink()
    with pytest.raises(DatasetError, match=r"put together from other files, and part\.h5 is not there"):
        pack(tmp_path / "all.h5", tmp_path / "out2.h5")


def test_two_files_into_one(path: Path, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "more.h5", "w") as file:
        file["z"] = np.arange(10)
    pack([path, tmp_path / "more.h5"], tmp_path / "out.h5")
    same(tmp_path / "out.h5", {"y": np.arange(10), "z": np.arange(10)})
    with pytest.raises(ArgumentError, match=r"'z' .* and 'z' .* cannot be in one file"):
        pack([tmp_path / "more.h5", {"z": [1]}], tmp_path / "out2.h5")


def test_a_file_packed_onto_itself(path: Path, tmp_path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match=r"overwrite=True .*data\.h5"):
        pack(path, path)
    assert path.read_bytes() == before
    with HDF5Matrix(path, "x") as matrix:
        pack(path, path, compression="lzf", overwrite=True)
        assert matrix.shape == (10, 3)
    same(path, {"x": np.arange(30.0, dtype="f4").reshape(10, 3), "y": np.arange(10)})
    assert HDF5Matrix(path, "x").layout.filters


def test_a_link_stays_a_link(path: Path, tmp_path: Path) -> None:
    shutil.copy(path, tmp_path / "real.h5")
    (tmp_path / "link.h5").symlink_to("real.h5")
    pack({"z": np.arange(3)}, tmp_path / "link.h5", overwrite=True)
    assert (tmp_path / "link.h5").is_symlink()
    same(tmp_path / "real.h5", {"z": np.arange(3)})
