"""Whatever h5py can read comes out as h5py reads it: the awkward files."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from befit import HDF5Matrix

ROWS = 20


def check(path, name="x", reason=""):
    """Compare every kind of read with h5py's of the whole dataset.

    ``reason`` is a part of what the layout says; ``""``: the dataset has to be read without h5py.
    """
    with h5py.File(path) as file:
        array = file[name][:]
    x = HDF5Matrix(path, name)
    assert x.layout.fast == (not reason), x.layout.reason
    assert reason in x.layout.reason
    native = array.dtype.newbyteorder("=") if not array.dtype.isnative else array.dtype
    assert (x.shape, x.dtype) == (array.shape, native)
    keys = [
        slice(None),
        slice(3, 9),
        slice(None, None, -3),
        np.arange(len(array))[::-1],
        [0, -1, 5, 5] if len(array) else [],
    ]
    for key in keys:
        result = x[key]
        assert result.shape == array[key].shape
        for row, expected in zip(
            result, array[key], strict=True
        ):  # row by row: rows may be arrays of any length
            np.testing.assert_array_equal(row, expected)
    if len(array):
        np.testing.assert_array_equal(x[-1], array[-1])


def low_level(path, layout, data):
    """Write a dataset whose creation needs h5py's low-level interface."""
    with h5py.File(path, "w") as file:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        layout(plist)
        space = h5py.h5s.create_simple(data.shape)
        kind = h5py.h5t.py_create(data.dtype)
        h5py.h5d.create(file.id, b"x", kind, space, dcpl=plist).write(h5py.h5s.ALL, h5py.h5s.ALL, data)


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("userblock", [0, 512, 4096])
def test_userblocks_and_versions(tmp_path, libver, userblock):
    with h5py.File(tmp_path / "a.h5", "w", libver=libver, userblock_size=userblock) as file:
        file.create_dataset("x", data=np.arange(60).reshape(ROWS, 3), chunks=(6, 3), maxshape=(None, 3))
        file["flat"] = np.arange(60).reshape(ROWS, 3)
    check(tmp_path / "a.h5")
    check(tmp_path / "a.h5", "flat")


def test_lzf_chunks_that_would_not_compress_are_stored_raw(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (ROWS, 50), dtype="uint8")
    noise[:8] = 1
    with h5py.File(tmp_path / "a.h5", "w") as file:
        x = file.create_dataset("x", data=noise, chunks=(4, 50), compression="lzf", shuffle=True)
        masks = {x.id.get_chunk_info(i).filter_mask for i in range(5)}
    assert len(masks) > 1
    check(tmp_path / "a.h5")


def test_chunks_written_past_the_filters(tmp_path):
    data = np.arange(ROWS * 5, dtype="int32").reshape(ROWS, 5)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        x = file.create_dataset("x", data=data, chunks=(5, 5), compression="gzip", shuffle=True)
        x.id.write_direct_chunk((5, 0), data[5:10].tobytes(), filter_mask=3)
    check(tmp_path / "a.h5")


def test_missing_chunks_are_the_fill_value(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        x = file.create_dataset("x", (ROWS, 3), "f4", chunks=(4, 3), fillvalue=7)
        x[9:11] = 1
        file.create_dataset("unwritten", (ROWS, 3), "i8", fillvalue=-1)
    check(tmp_path / "a.h5")
    check(tmp_path / "a.h5", "unwritten", "nothing was ever written to it")


def test_compact(tmp_path):
    low_level(tmp_path / "a.h5", lambda p: p.set_layout(h5py.h5d.COMPACT), np.arange(60.0).reshape(ROWS, 3))
    check(tmp_path / "a.h5", reason="stored in its header (compact)")


def test_external(tmp_path):
    data = np.arange(60.0).reshape(ROWS, 3)
    (tmp_path / "raw.bin").write_bytes(data.tobytes())
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset(
            "x", data.shape, data.dtype, external=[(str(tmp_path / "raw.bin"), 0, data.nbytes)]
        )
    check(tmp_path / "a.h5", reason="in other files (external)")


def test_virtual(tmp_path):
    layout = h5py.VirtualLayout((ROWS, 3), "i4", maxshape=None)
    for part in range(2):
        with h5py.File(tmp_path / f"part{part}.h5", "w") as file:
            file["x"] = np.arange(30, dtype="i4").reshape(10, 3) + 100 * part
        layout[part * 10 : (part + 1) * 10] = h5py.VirtualSource(tmp_path / f"part{part}.h5", "x", (10, 3))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_virtual_dataset("x", layout, fillvalue=-1)
    check(tmp_path / "a.h5", reason="from other datasets (virtual)")


def test_links(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.arange(ROWS) + 100  # at the very address that the other one has in its file
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["group/hard"] = np.arange(ROWS)
        file["soft"] = h5py.SoftLink("/group/hard")
        file["external"] = h5py.ExternalLink("other.h5", "x")
    for name in ("group/hard", "/group/hard", "soft"):
        check(tmp_path / "a.h5", name)
    check(tmp_path / "a.h5", "external", "in another file (external link)")


def test_resized(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w", libver="latest") as file:
        x = file.create_dataset("x", data=np.arange(30).reshape(10, 3), chunks=(4, 3), maxshape=(None, 3))
        x.resize(ROWS, axis=0)
        x[13:] = 5
        x.resize(ROWS - 3, axis=0)
    check(tmp_path / "a.h5")


ENCODES_SZIP = (
    h5py.h5z.filter_avail(h5py.h5z.FILTER_SZIP)
    and h5py.h5z.get_filter_info(h5py.h5z.FILTER_SZIP) & h5py.h5z.FILTER_CONFIG_ENCODE_ENABLED
)


@pytest.mark.parametrize(
    ("reason", "setup"),
    [
        ("", lambda plist: plist.set_fletcher32()),
        ("", lambda plist: plist.set_shuffle()),
        ("", lambda plist: plist.set_deflate(9)),
        ("filter scaleoffset is decoded by HDF5 only", lambda plist: plist.set_scaleoffset(2, 0)),
        ("filter nbit is decoded by HDF5 only", lambda plist: plist.set_filter(h5py.h5z.FILTER_NBIT)),
        pytest.param(
            "filter szip is decoded by HDF5 only",
            lambda plist: plist.set_szip(h5py.h5z.SZIP_NN_OPTION_MASK, 4),
            marks=pytest.mark.skipif(not ENCODES_SZIP, reason="this HDF5 writes no szip"),
        ),
        (
            "filters deflate and lzf follow each other",
            lambda plist: (plist.set_deflate(1), plist.set_filter(h5py.h5z.FILTER_LZF)),
        ),
    ],
)
def test_filters(tmp_path, reason, setup):
    def layout(plist):
        plist.set_chunk((6, 3))
        setup(plist)

    low_level(tmp_path / "a.h5", layout, np.arange(60, dtype="i4").reshape(ROWS, 3))
    check(tmp_path / "a.h5", reason=reason)


def test_chunks_of_more_than_a_gigabyte(tmp_path, monkeypatch):
    """Their rows are read one after the other, not all at once."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=np.arange(60).reshape(ROWS, 3), chunks=(5, 3))
    monkeypatch.setattr("befit.hdf5.table._LARGEST_BLOCK", 119)
    check(tmp_path / "a.h5", reason="the chunks of one row hold 5 rows, 0.0 GiB")


def test_a_file_that_this_process_has_open_for_writing(tmp_path):
    """What is not on the disk yet is read too."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=np.arange(60).reshape(ROWS, 3), chunks=(5, 3))
        check(tmp_path / "a.h5", reason="this process has the file open for writing")
        file["x"][7] = -1
        check(tmp_path / "a.h5", reason="this process has the file open for writing")


def test_numbers_of_unusual_precision(tmp_path):
    """12 bits in 16, as cameras write them."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        kind = h5py.h5t.STD_U16LE.copy()
        kind.set_precision(12)
        kind.set_offset(4)
        space = h5py.h5s.create_simple((ROWS,))
        x = h5py.h5d.create(file.id, b"x", kind, space)
        x.write(h5py.h5s.ALL, h5py.h5s.ALL, np.arange(ROWS, dtype="u2") * 200)
    check(tmp_path / "a.h5", reason="its type is converted by HDF5")


@pytest.mark.parametrize(
    "data",
    [
        np.arange(ROWS, dtype=">i4"),
        np.arange(ROWS) % 3 == 0,
        np.arange(ROWS, dtype="f2"),
        np.arange(ROWS) + 1j,
        np.array([b"a", b"bcd"] * 10),
        np.array([(i, i / 2) for i in range(ROWS)], [("a", "i4"), ("b", ">f8")]),
        np.arange(ROWS).astype("M8[s]").astype(h5py.opaque_dtype("M8[s]")),
        np.zeros((0, 3), "f4"),
        np.zeros((ROWS, 0), "f4"),
    ],
    ids=lambda data: f"{data.dtype}{data.shape}",
)
@pytest.mark.parametrize("chunks", [None, True])
def test_data_types(tmp_path, data, chunks):
    if chunks and data.size == 0:
        chunks = (4, 3) if data.shape[1] else None
    with h5py.File(tmp_path / "a.h5", "w") as file:
        maxshape = (None, *data.shape[1:]) if chunks else None
        file.create_dataset("x", data=data, chunks=chunks, maxshape=maxshape)
    check(tmp_path / "a.h5", reason="" if data.size else "it has no values")


def test_strings_and_arrays_of_any_length(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("text", data=["a" * i for i in range(ROWS)], dtype=h5py.string_dtype())
        lists = file.create_dataset("lists", (ROWS,), h5py.vlen_dtype("i4"))
        for i in range(ROWS):
            lists[i] = np.arange(i % 4)
        kinds = h5py.enum_dtype({"cat": 1, "dog": 2}, "u1")
        file.create_dataset("kinds", data=np.array([1, 2] * 10, "u1"), dtype=kinds)
        file.create_dataset("arrays", (ROWS,), np.dtype(("f4", (2,))))[:] = np.arange(40).reshape(ROWS, 2)
    check(tmp_path / "a.h5", "arrays")
    check(tmp_path / "a.h5", "kinds", "its type is converted by HDF5")
    for name in ("text", "lists"):
        check(tmp_path / "a.h5", name, "its values have no fixed length")
