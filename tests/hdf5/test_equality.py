"""HDF5Matrix gives what h5py gives, whatever the layout, the filters, the type, the index and the mode."""

from __future__ import annotations

import ctypes
import shutil
from importlib.util import find_spec
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from befit import HDF5Matrix
from befit.hdf5 import source

UNLIMITED = h5py.h5s.UNLIMITED
OPTIONAL = h5py.h5z.FLAG_OPTIONAL
FILTERS = {
    "shuffle": lambda plist: plist.set_shuffle(),
    "fletcher32": lambda plist: plist.set_fletcher32(),
    "gzip": lambda plist: plist.set_deflate(4),
    "lzf": lambda plist: plist.set_filter(h5py.h5z.FILTER_LZF, OPTIONAL),
}
if find_spec("hdf5plugin"):
    import hdf5plugin

    for made in (hdf5plugin.Zstd(), hdf5plugin.Blosc2(), hdf5plugin.Blosc(), hdf5plugin.LZ4()):
        FILTERS[made.filter_name] = lambda plist, f=made: plist.set_filter(
            f.filter_id, OPTIONAL, f.filter_options
        )
COMPRESSORS = [name for name in FILTERS if name not in ("shuffle", "fletcher32")]
COMPOUND = [("a", ">i2"), ("b", "<f8"), ("c", "S3"), ("d", [("e", "u1", (2,)), ("f", ">f4")])]
DTYPES = {
    **{
        name: np.dtype(name)
        for name in ("u1", "i2", "<u8", ">i4", "f4", ">f8", "f2", "g", "c8", ">c16", "?", "S1", "S7", "V5")
    },
    "compound": np.dtype(COMPOUND),
    "aligned": np.dtype([("a", "u1"), ("b", "f8"), ("c", "?")], align=True),
}

# Of a cache: what it may hold, who decodes, how the file is read, and whether there is a disk for it.
MODES = [
    {"cache_bytes": None, "threads": 1, "mmap": "1", "disk": True},
    {"cache_bytes": 0, "threads": 2, "mmap": "0", "disk": False},
    {"cache_bytes": 150, "threads": 4, "mmap": "1", "disk": True},
    {"cache_bytes": 400, "threads": 1, "mmap": "1", "disk": False},
    {"cache_bytes": 1000, "threads": 3, "mmap": "0", "disk": True},
]


def values(dtype: np.dtype, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Values of a type, compressible in parts; floats are numbers."""
    rng = np.random.default_rng(seed)
    if dtype.names:
        result = np.zeros(shape, dtype)
        for number, name in enumerate(dtype.names):
            part = dtype[name].subdtype or (dtype[name], ())
            result[name] = values(part[0], (*shape, *part[1]), seed + number)
        return result
    if dtype.kind in "V":
        return rng.integers(0, 9, (*shape, dtype.itemsize), "u1").view(dtype)[..., 0]
    numbers = rng.integers(0, 1 << 14, shape)
    numbers.reshape(-1)[: numbers.size // 2] %= 5
    return (numbers % 120 if dtype.itemsize == 1 else numbers).astype(dtype)


def write(
    path: Path,
    data: np.ndarray,
    chunks: tuple[int, ...] | None = None,
    maxshape: tuple[int, ...] | None = None,
    filters: tuple[str, ...] = (),
    *,
    shape: tuple[int, ...] | None = None,
    written: tuple[slice, ...] = (),
    raw_chunk: bool = False,
    whole_chunks_only: bool = False,
    early: bool = False,
    fill: bool = False,
    libver: str = "earliest",
    userblock: int = 0,
    setup=lambda plist: None,
) -> None:
    """Write a dataset ``x``: first of one ``shape``, then of that of ``data``, of which a part is written.

    Args:
        raw_chunk: Store the first chunk as it is, marked as not filtered.
        whole_chunks_only: Tell HDF5 not to filter chunks that are partly outside of the dataset.
        early: Give every chunk its place in the file at once.
        fill: Have another fill value than zero.
    """
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    if chunks:
        plist.set_chunk(chunks)
    if early:
        plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    if fill:
        plist.set_fill_value(data.reshape(-1)[-1:])
    for name in filters:
        FILTERS[name](plist)
    if whole_chunks_only:
        call = ctypes.CDLL(h5py.h5p.__file__).H5Pset_chunk_opts
        call.argtypes = [ctypes.c_int64, ctypes.c_uint]
        assert call(plist.id, 2) >= 0
    setup(plist)
    with h5py.File(path, "w", libver=libver, userblock_size=userblock) as file:
        space = h5py.h5s.create_simple(shape or data.shape, maxshape)
        low = h5py.h5d.create(file.id, b"x", h5py.h5t.py_create(data.dtype, logical=True), space, dcpl=plist)
        x = h5py.Dataset(low)
        if shape and shape != data.shape:
            x[...] = data.reshape(-1)[0]
            x.resize(data.shape)
        x[written] = data[written]
        if raw_chunk:
            place = np.resize(data, chunks)  # any values will do: h5py is asked what they are
            low.write_direct_chunk((0,) * data.ndim, place.tobytes(), filter_mask=(1 << len(filters)) - 1)


def keys(array: np.ndarray, rng: np.random.Generator) -> list:
    """Indices of every kind."""
    n = len(array)
    found = [slice(None), slice(None, None, -1), slice(1, None, 3), slice(n, 0, -2), slice(n, None)]
    found += [slice(*np.sort(rng.integers(0, n + 1, 2))), []]
    if n:
        found += [0, -1, rng.permutation(n), rng.integers(-n, n, 2 * n), rng.integers(0, n, (2, 3))]
        found += [rng.integers(0, 2, n).astype(bool), [int(rng.integers(n))], rng.integers(0, n, 3).tolist()]
        if array.ndim > 1:
            found += [(rng.permutation(n), ..., 0), (slice(None, None, 2), None, -1)]
    return found


def same(result, expected) -> None:
    """Compare values, shape and type; only the byte order may differ."""
    result, expected = np.asarray(result), np.asarray(expected)
    assert (result.shape, result.dtype) == (expected.shape, expected.dtype.newbyteorder("="))
    np.testing.assert_array_equal(result, expected)


def check(path: Path, reason: str = "", modes=MODES, wanted=keys) -> None:
    """Compare with h5py in several modes, each on a copy of the file: nothing is shared then.

    ``reason`` is a part of the layout's; ``""``: the dataset has to be read without h5py.
    """
    with h5py.File(path) as file:
        array = file["x"][()]
        growing = [axis for axis, most in enumerate(file["x"].maxshape) if most is None]
    if len(growing) == 1 and growing != [0] and not reason:
        # HDF5 1.14 says wrongly where chunks are if the latest format is used.
        reason = "its only axis without a limit is not the first"
    rng = np.random.default_rng(len(array))
    for number, mode in enumerate(modes):
        copied = path.with_suffix(f".{number}.h5")
        shutil.copyfile(path, copied)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("BEFIT_MMAP", mode["mmap"])
            if not mode["disk"]:
                patch.setattr(source, "scratch_folder", lambda nbytes: None)
            for start, end in ((0, None), (min(2, len(array)), max(len(array) - 3, min(2, len(array))))):
                with HDF5Matrix(
                    copied, "x", start, end, cache_bytes=mode["cache_bytes"], threads=mode["threads"]
                ) as x:
                    assert x.layout.fast == (reason == ""), x.layout.reason
                    assert reason in x.layout.reason
                    for key in wanted(array[start:end], rng)[:: 3 if start else 1]:
                        same(x[key], array[start:end][key])


SHAPE = (23, 5, 3)
INTS = values(np.dtype("i4"), SHAPE)
PARTS = (slice(5, 14), slice(1, 3))
LAYOUTS = {
    "contiguous": {},
    "a row a chunk": {"chunks": (1, 5, 3)},
    "whole rows": {"chunks": (4, 5, 3)},
    "one chunk": {"chunks": (23, 5, 3)},
    "split along each axis": {"chunks": (4, 2, 2)},
    "split along the last axis": {"chunks": (6, 5, 1)},
    "a value a chunk": {"chunks": (1, 1, 1)},
    "longer than the dataset": {"chunks": (40, 5, 3), "maxshape": (UNLIMITED, 5, 3)},
    "wider than the dataset": {"chunks": (4, 7, 3), "maxshape": (23, 9, 3)},
    "wider along the last axis": {"chunks": (4, 2, 8), "maxshape": (UNLIMITED,) * 3},
    "missing": {"chunks": (4, 5, 3), "written": PARTS[:1]},
    "missing, filled": {"chunks": (4, 5, 3), "written": PARTS[:1], "fill": True},
    "missing parts of rows": {"chunks": (4, 2, 2), "written": PARTS, "fill": True},
    "nothing written": {"chunks": (4, 2, 2), "written": (slice(0),), "fill": True},
    "longer than before": {"chunks": (4, 5, 3), "shape": (9, 5, 3), "maxshape": (UNLIMITED, 5, 3)},
    "shorter than before": {"chunks": (4, 5, 3), "shape": (40, 5, 3), "maxshape": (UNLIMITED, 5, 3)},
    "wider than before": {"chunks": (4, 2, 3), "shape": (23, 2, 3), "maxshape": (23, UNLIMITED, 3)},
    "narrower than before": {"chunks": (4, 8, 3), "shape": (23, 8, 3), "maxshape": (23, UNLIMITED, 3)},
    "thinner than before": {"chunks": (5, 5, 4), "shape": (23, 5, 7), "maxshape": (UNLIMITED,) * 3},
    "thicker, partly written": {
        "chunks": (5, 2, 2),
        "shape": (30, 4, 1),
        "maxshape": (UNLIMITED,) * 3,
        "written": PARTS,
        "fill": True,
    },
}
PIPELINES = [(), ("gzip",), ("shuffle", "gzip", "fletcher32")]


@pytest.mark.parametrize("filters", PIPELINES, ids=["raw", "gzip", "all"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout, filters, tmp_path):
    if filters and layout == "contiguous":
        filters = ()
    write(tmp_path / "a.h5", INTS, filters=filters, **LAYOUTS[layout])
    check(tmp_path / "a.h5", modes=MODES[:3] if filters else MODES[:2])


@pytest.mark.parametrize(
    ("filters", "whole_chunks_only"), [((), False), (PIPELINES[2], False), (PIPELINES[2], True)], ids=str
)
@pytest.mark.parametrize(
    ("signature", "options"),
    [
        (b"FAHD", {"chunks": (4, 2, 2)}),
        (b"FAHD", {"chunks": (1, 2, 2), "maxshape": (200, 30, 4)}),  # in pages
        (b"EAHD", {"chunks": (4, 2, 2), "maxshape": (UNLIMITED, 9, 3)}),
        (b"EAHD", {"chunks": (1, 2, 2), "maxshape": (UNLIMITED, 5, 3)}),
        (b"EAHD", {"chunks": (4, 2, 2), "maxshape": (23, UNLIMITED, 3)}),
        (b"EAHD", {"chunks": (30, 2, 2), "maxshape": (30, 7, UNLIMITED)}),
        (b"BTHD", {"chunks": (1, 2, 2), "maxshape": (UNLIMITED, UNLIMITED, 3)}),
        (b"", {"chunks": (23, 5, 3)}),  # a single chunk needs no index
        (b"", {"chunks": (4, 2, 2), "early": True}),  # so do chunks one after the other
    ],
    ids=lambda value: value.decode() if isinstance(value, bytes) else str(value["chunks"]),
)
def test_indices_of_chunks(signature, options, filters, whole_chunks_only, tmp_path):
    """Those of the latest format; the other tests have version 1 B-trees."""
    write(
        tmp_path / "a.h5",
        INTS,
        filters=filters,
        libver="latest",
        whole_chunks_only=whole_chunks_only,
        **options,
    )
    data = (tmp_path / "a.h5").read_bytes()
    if not options.get("early"):  # what is filtered cannot lie one after the other
        assert [s for s in (b"FAHD", b"EAHD", b"BTHD") if s in data] == [signature][: len(signature)]
    check(tmp_path / "a.h5", modes=MODES[:2])


@pytest.mark.parametrize("first", ["gzip", "shuffle", "fletcher32"])
def test_edges_that_are_not_filtered_and_checksums(first, tmp_path):
    """HDF5 does not mark them, and they have no checksum."""
    filters = (first, *(name for name in ("shuffle", "gzip", "fletcher32") if name != first))
    options = {"libver": "latest", "whole_chunks_only": True, "maxshape": (UNLIMITED,) * 3}
    write(tmp_path / "a.h5", INTS, (4, 2, 3), filters=filters, **options)
    check(tmp_path / "a.h5")
    write(tmp_path / "b.h5", INTS, (4, 2, 3), shape=(30, 6, 3), filters=filters, **options)
    check(tmp_path / "b.h5")


@pytest.mark.parametrize("compressor", [None, *COMPRESSORS])
@pytest.mark.parametrize("others", [(), ("shuffle",), ("fletcher32",), ("shuffle", "fletcher32")], ids=str)
def test_filters(compressor, others, tmp_path):
    filters = tuple(dict.fromkeys((*others[:1], compressor, *others[1:])))
    filters = tuple(name for name in filters if name)
    for number, chunks in enumerate([(4, 5, 3), (5, 2, 2)]):
        path = tmp_path / f"{number}.h5"
        write(path, INTS, chunks, filters=filters, written=PARTS[:1], raw_chunk=bool(filters), fill=True)
        check(path, modes=MODES[number + 1 : number + 3])


@pytest.mark.parametrize("dtype", DTYPES)
def test_types(dtype, tmp_path):
    data = values(DTYPES[dtype], SHAPE)
    for number, options in enumerate(
        [
            {},
            {"chunks": (4, 2, 2), "filters": ("shuffle", "gzip"), "written": PARTS, "fill": dtype != "V5"},
            {"chunks": (3, 5, 3), "filters": ("lzf",), "raw_chunk": True},
        ]
    ):
        write(tmp_path / f"{number}.h5", data, **options)
        check(tmp_path / f"{number}.h5", modes=MODES[2:3] if options else MODES[:1])


@pytest.mark.parametrize("axes", [(2,), (2, 3)])
@pytest.mark.parametrize(
    "options", [{}, {"chunks": (3, 2)}, {"chunks": (4, 1), "compression": "gzip"}], ids=str
)
def test_elements_that_are_arrays(axes, options, tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        x = file.create_dataset("x", (9, 2), np.dtype((">f4", axes)), **options)
        x[...] = np.arange(9 * 2 * np.prod(axes)).reshape(9, 2, *axes)
    check(tmp_path / "a.h5")


@pytest.mark.parametrize("rank", [1, 2, 4, 5])
def test_ranks(rank, tmp_path):
    data = values(np.dtype("u2"), (13, 3, 2, 4, 2)[:rank])
    for number, options in enumerate(
        [{}, {"chunks": (5, 3, 2, 4, 2)[:rank]}, {"chunks": (2, 2, 1, 3, 2)[:rank], "filters": ("gzip",)}]
    ):
        write(tmp_path / f"{number}.h5", data, **options)
        check(tmp_path / f"{number}.h5", modes=MODES[1:4])


def test_edges_that_had_their_place_before_they_were_written(tmp_path):
    """Their mask is that of what they were filled with first, which was too little for lzf."""
    write(
        tmp_path / "a.h5",
        INTS[:, 0, 0] + 10_000,
        (2,),
        filters=("shuffle", "lzf"),
        libver="latest",
        whole_chunks_only=True,
        early=True,
    )
    check(tmp_path / "a.h5", modes=MODES[:1])


def test_a_sparse_dataset(tmp_path):
    """Of chunks that were never written a table would take 24 TB."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        x = file.create_dataset("x", (1 << 40, 3), "i4", chunks=(1, 3), fillvalue=7)
        x[1 << 39] = 1
    with HDF5Matrix(tmp_path / "a.h5", "x") as x:
        assert not x.layout.fast
        assert x[[0, 1 << 39, -1]].tolist() == [[7] * 3, [1] * 3, [7] * 3]


def test_a_fill_value_that_is_never_written(tmp_path):
    """HDF5 leaves missing chunks alone then, and h5py returns zeros."""
    never = h5py.h5d.FILL_TIME_NEVER
    settings = {"written": PARTS[:1], "fill": True, "setup": lambda plist: plist.set_fill_time(never)}
    write(tmp_path / "a.h5", INTS, (4, 5, 3), **settings)
    check(tmp_path / "a.h5", "some of its chunks were never written")


@st.composite
def datasets(draw):
    """The arguments of ``write``, and the shape of the data."""
    shape = tuple(draw(st.lists(st.integers(1, 3), max_size=4)))
    shape = (draw(st.integers(1, 14)), *shape)
    dtype = DTYPES[draw(st.sampled_from(list(DTYPES)))]
    libver = draw(st.sampled_from(["earliest", "latest"]))
    options = {"libver": libver, "userblock": draw(st.sampled_from([0, 512]))}
    data = values(dtype, shape, draw(st.integers(0, 99)))
    if draw(st.integers(0, 5)) == 0:
        return data, options
    chunks = tuple(draw(st.integers(1, axis + 2)) for axis in shape)
    compressor = draw(st.sampled_from([None, *COMPRESSORS]))
    others = draw(st.lists(st.sampled_from(["shuffle", "fletcher32"]), unique=True))
    filters = draw(st.permutations([*others, *([compressor] if compressor else [])]))
    maxshape = tuple(
        UNLIMITED if draw(st.booleans()) else max(axis, chunk) + draw(st.integers(0, 2))
        for axis, chunk in zip(shape, chunks, strict=True)
    )
    if draw(st.booleans()):
        bounds = [
            (axis, axis + 3) if top == UNLIMITED else (axis, top)
            for axis, top in zip(shape, maxshape, strict=True)
        ]
        options["shape"] = tuple(draw(st.integers(max(1, low - 2), high)) for low, high in bounds)
    if draw(st.booleans()):
        starts = [draw(st.integers(0, axis)) for axis in shape]
        options["written"] = tuple(slice(start, start + draw(st.integers(0, 4))) for start in starts)
    # Opaque types have no fill value in h5py.
    options["fill"] = draw(st.booleans()) and dtype.kind != "V"
    options["early"] = draw(st.booleans())
    options["whole_chunks_only"] = libver == "latest" and draw(st.booleans())
    # HDF5 does not read a chunk that both say something about, and forgets the mask of one that had a place.
    told = options["whole_chunks_only"] or options["early"]
    options["raw_chunk"] = bool(filters) and not told and draw(st.booleans())
    return data, {"chunks": chunks, "filters": tuple(filters), "maxshape": maxshape, **options}


def compare(dataset, modes, seed: int, folder: Path) -> None:
    """Write a dataset, compare some indices that ``seed`` chooses, remove the folder if they are right."""
    data, options = dataset
    write(folder / "a.h5", data, **options)
    try:
        check(folder / "a.h5", modes=[])
    except OSError:  # not even HDF5 reads it: it forgot that a chunk, which is whole by now, was not filtered
        return

    def some(array, rng):
        found = keys(array, np.random.default_rng(seed))
        return [found[i] for i in rng.permutation(len(found))[:6]]

    check(folder / "a.h5", modes=modes, wanted=some)
    shutil.rmtree(folder)


@settings(max_examples=50, deadline=None)
@given(dataset=datasets(), modes=st.permutations(MODES), seed=st.integers(0, 1000))
def test_any_dataset(dataset, modes, seed, tmp_path_factory):
    compare(dataset, modes[:2], seed, tmp_path_factory.mktemp("any"))
