"""Chunks come out as HDF5 itself decodes them, whatever the filters; damaged ones are refused."""

from __future__ import annotations

import importlib
import io
import itertools
import os
import pickle
import signal
import subprocess
import sys
import threading
import zlib
from importlib.util import find_spec

import h5py
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from befit.errors import DatasetError
from befit.hdf5 import decoders
from befit.hdf5.codecs import Pipeline, fletcher32, unshuffle, unsupported
from befit.hdf5.layout import FILTER_NAMES, Filter

NUMBERS = {name: number for number, name in FILTER_NAMES.items()}
PLUGINS = {
    "zstd": ("Zstd", {}),
    "lz4": ("LZ4", {}),
    "lz4, many blocks": ("LZ4", {"nbytes": 100}),
    "bitshuffle": ("Bitshuffle", {}),
    "bitshuffle, zstd": ("Bitshuffle", {"cname": "zstd"}),
    "bitshuffle, many blocks": ("Bitshuffle", {"nelems": 16}),
    "bitshuffle, nothing else": ("Bitshuffle", {"cname": "none"}),
    "blosc": ("Blosc", {}),
    "blosc, zstd": ("Blosc", {"cname": "zstd", "shuffle": 2}),
    "blosc2": ("Blosc2", {}),
    "blosc2, zstd": ("Blosc2", {"cname": "zstd", "filters": 2}),
}
SETTERS = {
    "shuffle": lambda plist: plist.set_shuffle(),
    "fletcher32": lambda plist: plist.set_fletcher32(),
    "gzip": lambda plist: plist.set_deflate(4),
    "lzf": lambda plist: plist.set_filter(h5py.h5z.FILTER_LZF, h5py.h5z.FLAG_OPTIONAL),
}


def plugin_filter(name):
    kind, options = PLUGINS[name]
    made = getattr(pytest.importorskip("hdf5plugin"), kind)(**options)
    return lambda plist: plist.set_filter(made.filter_id, h5py.h5z.FLAG_OPTIONAL, made.filter_options)


class Chunk:
    """One chunk as h5py writes it through ``filters``, and as it reads it.

    Some plugins look at the type and the shape of the chunk, hence the two axes.
    """

    def __init__(self, array, filters, mask=0, stored=None):
        array = np.atleast_2d(array)
        self.values = array.tobytes()
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk(array.shape)
        for name in filters:
            (SETTERS.get(name) or plugin_filter(name))(plist)
        self.file = h5py.File(io.BytesIO(), "w")
        kind = h5py.h5t.py_create(array.dtype)
        space = h5py.h5s.create_simple(array.shape)
        dataset = h5py.Dataset(h5py.h5d.create(self.file.id, b"x", kind, space, dcpl=plist))
        if stored is None:
            dataset[...] = array
        else:
            dataset.id.write_direct_chunk((0, 0), stored, mask)
        del dataset  # while it is open, HDF5 reads the chunk as if its mask were 0
        self.dataset = self.file["x"]
        found = self.dataset.id.get_create_plist()
        self.filters = [
            Filter(number, tuple(options))
            for number, _, options, _ in map(found.get_filter, range(found.get_nfilters()))
        ]
        self.mask, stored = self.dataset.id.read_direct_chunk((0, 0))
        self.stored = np.frombuffer(stored, np.uint8)
        assert not self.stored.flags.writeable

    def by_h5py(self):
        """Return the bytes, ``None`` for an error."""
        try:
            return self.dataset[...].tobytes()
        except OSError:
            return None

    def decode(self, stored=None):
        pipeline = Pipeline(self.filters, len(self.values))
        return decoded(pipeline, self.stored if stored is None else np.frombuffer(stored, np.uint8), self)


def decoded(pipeline, stored, chunk):
    """Return the bytes, decoded into memory whose neighbours must not be touched."""
    size = len(chunk.values)
    memory = np.full(size + 32, 0xA5, np.uint8)
    try:
        pipeline.decode(stored, chunk.mask, memory[16 : 16 + size])
    except DatasetError:
        return None
    finally:
        assert set(memory[:16].tolist()) == set(memory[-16:].tolist()) == {0xA5}
    return memory[16 : 16 + size].tobytes()


def compressible(shape, dtype, seed=0):
    steps = np.random.default_rng(seed).integers(0, 3, shape)
    return np.cumsum(steps, axis=-1).astype(dtype)


ORDERS = [
    *("shuffle", "fletcher32", "shuffle fletcher32", "fletcher32 shuffle"),
    *("gzip", "shuffle gzip", "gzip shuffle", "gzip fletcher32", "fletcher32 gzip"),
    *("lzf", "shuffle lzf", "lzf shuffle", "lzf fletcher32", "fletcher32 lzf"),
    *("shuffle gzip fletcher32", "shuffle lzf fletcher32", "fletcher32 gzip fletcher32"),
    *("fletcher32 shuffle fletcher32 gzip", "fletcher32 gzip shuffle fletcher32"),
]


@pytest.mark.parametrize("filters", ORDERS)
@pytest.mark.parametrize("dtype", ["u1", "<i2", ">f4", "c16", "S3"])
def test_any_order_of_filters(filters, dtype):
    filters = filters.split()
    for shape in [(1, 1), (1, 7), (5, 11), (3, 1500)]:
        array = compressible(shape, "i8").astype(dtype)
        chunk = Chunk(array, filters)
        assert chunk.decode() == chunk.by_h5py() == chunk.values


@pytest.mark.parametrize("name", PLUGINS)
@pytest.mark.parametrize("dtype", ["u1", "<f4", "S3"])
def test_plugins(name, dtype):
    for shape in [(1, 1), (5, 11), (40, 1001)]:
        for filters in ([name], ["shuffle", name], [name, "fletcher32"]):
            array = compressible(shape, "i8").astype(dtype)
            chunk = Chunk(array, filters)
            assert chunk.decode() == chunk.by_h5py() == chunk.values


def test_noise_that_lzf_stores_as_it_was():
    noise = np.random.default_rng(0).integers(0, 256, (1, 500), "u1")
    chunk = Chunk(noise, ["shuffle", "lzf", "fletcher32"])
    assert chunk.mask == 0b10
    assert chunk.decode() == chunk.values


def test_filters_that_were_skipped_for_a_chunk():
    array = compressible((4, 100), "<i4")
    filters = ["shuffle", "gzip", "fletcher32"]
    whole = Chunk(array, filters)
    raw = array.tobytes()
    shuffled = np.frombuffer(raw, np.uint8).reshape(-1, 4).T.tobytes()
    stored = {
        0b000: whole.stored.tobytes(),
        0b100: zlib.compress(shuffled),
        0b101: zlib.compress(raw),
        0b110: shuffled,
        0b111: raw,
        0b011: raw + fletcher32(np.frombuffer(raw, np.uint8)).to_bytes(4, "little"),
    }
    for mask, data in stored.items():
        chunk = Chunk(array, filters, mask, data)
        assert chunk.mask == mask
        assert chunk.decode() == chunk.by_h5py() == raw
        for wrong in (data[:-1], data + b"x", b""):
            result = chunk.decode(wrong)
            assert result is None or (wrong == data + b"x" and mask in (0b100, 0b101) and result == raw)
        chunk.mask |= 1 << 17  # belongs to no filter
        assert chunk.decode() == raw


@given(data=st.binary(min_size=1, max_size=3000), itemsize=st.integers(1, 40))
@settings(deadline=None)
def test_unshuffle_undoes_what_hdf5_does(data, itemsize):
    array = np.frombuffer(data[: len(data) // itemsize * itemsize] or bytes(itemsize), f"V{itemsize}")
    chunk = Chunk(array, ["fletcher32", "shuffle"])  # the checksum is bytes that are no whole item
    assert chunk.decode() == chunk.values


@pytest.mark.parametrize("itemsize", [1, 2, 3, 4, 8, 12, 5000])
@pytest.mark.parametrize("nbytes", [0, 1, 4095, 4096, 131_075])
def test_unshuffle(itemsize, nbytes):
    data, whole = np.random.default_rng(0).integers(0, 256, nbytes, "u1"), nbytes // itemsize * itemsize
    unshuffle(data, itemsize, out := np.empty_like(data))
    expected = np.concatenate([data[:whole].reshape(itemsize, -1).T.ravel(), data[whole:]])
    np.testing.assert_array_equal(out, expected)


@given(data=st.binary(min_size=1, max_size=2000), fill=st.integers(0, 255), count=st.integers(0, 300_000))
@settings(deadline=None, max_examples=60)
@example(data=b"\xff\xff", fill=0, count=0)  # 65535 is not 0
def test_fletcher32_is_that_of_hdf5(data, fill, count):
    array = np.frombuffer(data + bytes([fill]) * count, np.uint8)
    stored = Chunk(array, ["fletcher32"]).stored
    assert fletcher32(array) == int.from_bytes(stored[-4:].tobytes(), "little")
    shifted = np.empty(len(array) + 1, np.uint8)[1:]  # words at an odd address
    shifted[:] = array
    assert fletcher32(shifted) == fletcher32(array)


@pytest.mark.parametrize("fill", [0, 1, 255])
def test_fletcher32_of_many_bytes(fill):
    chunk = Chunk(np.full(9_000_001, fill, np.uint8), ["fletcher32"])
    assert chunk.decode() == chunk.values


def test_checksums_with_swapped_bytes_are_accepted():
    array = np.arange(100, dtype="<i4")
    chunk = Chunk(array, ["fletcher32"])
    stored = chunk.stored.tobytes()
    swapped = stored[:-4] + bytes(stored[-4:][i] for i in (1, 0, 3, 2))
    old = Chunk(array, ["fletcher32"], 0, swapped)
    assert old.decode() == old.by_h5py() == old.values
    other = Chunk(array, ["fletcher32"], 0, stored[:-4] + stored[:-5:-1])
    assert other.decode() is other.by_h5py() is None


def damaged(stored, seed):
    """Yield bytes that are not what was stored."""
    random = np.random.default_rng(seed)
    yield b""
    for length in (1, 4, 11, 12, 15, 16, 17, len(stored) // 2, len(stored) - 4, len(stored) - 1):
        yield stored[:length]
    for extra in (b"\0", b"\xff" * 4, stored):
        yield stored + extra
    for _ in range(150):
        data = bytearray(stored)
        first = random.random() < 0.5  # headers are where it hurts
        for place in random.integers(0, min(len(data), 48) if first else len(data), random.integers(1, 6)):
            data[place] = random.choice([0, 1, 127, 128, 255, random.integers(256)])
        if data != stored:
            yield bytes(data)


@pytest.mark.parametrize("filters", ORDERS)
def test_damaged_chunks_are_refused_or_read_as_h5py_does(filters):
    filters = filters.split()
    chunk = Chunk(compressible((3, 300), "<i4"), filters)
    refused = 0
    for data in damaged(chunk.stored.tobytes(), 0):
        result = chunk.decode(data)
        refused += result is None
        if result is not None:
            assert result == Chunk(compressible((3, 300), "<i4"), filters, chunk.mask, data).by_h5py()
    assert refused >= 5


DAMAGE = """
import faulthandler
import numpy as np
import test_codecs as t

faulthandler.enable()
for name in t.PLUGINS:
    print(name, flush=True)
    chunk = t.Chunk(t.compressible((5, 1000), "<i4"), [name])
    results = [chunk.decode(data) for data in t.damaged(chunk.stored.tobytes(), 1)]
    assert results.count(None) >= 5, results.count(None)
    assert chunk.decode() == chunk.values
    noise = np.random.default_rng(0).integers(0, 256, (3, 1001)).astype("<i2")
    for chunk in [t.Chunk(noise, [name]), t.Chunk(t.compressible((3, 1001), "<i2"), [name])]:
        for cut in range(1, 9):
            assert chunk.decode(chunk.stored.tobytes()[:-cut]) is None
"""


def test_damaged_chunks_do_not_crash_plugins():
    """In a process of its own. h5py is no oracle here: it calls filters that trust such bytes."""
    pytest.importorskip("hdf5plugin")
    path = os.pathsep.join([os.path.dirname(__file__), *sys.path])
    subprocess.run(
        [sys.executable, "-c", DAMAGE], check=True, timeout=100, env={**os.environ, "PYTHONPATH": path}
    )


INFLATE = ["libdeflate", "deflate", "isal", "zlib_ng", "zlib"]


@pytest.mark.parametrize("number", range(len(INFLATE)), ids=INFLATE)
def test_each_decoder_of_deflate(number, monkeypatch):
    pytest.importorskip(INFLATE[max(number, 1)])
    monkeypatch.setattr(decoders, "INFLATE", decoders.INFLATE[number:])
    array = compressible((30, 500), "<i4")
    raw = array.tobytes()
    for filters in (["gzip"], ["shuffle", "gzip", "fletcher32"]):
        chunk = Chunk(array, filters)
        pipeline = Pipeline(chunk.filters, len(chunk.values))
        assert f"deflate by {INFLATE[number]}" in pipeline.description
        assert decoded(pipeline, chunk.stored, chunk) == chunk.values
    chunk = Chunk(array, ["gzip"])
    good = chunk.stored.tobytes()
    wrong_sum = good[:-1] + bytes([good[-1] ^ 1])
    for data in (b"", good[:1], good[:-1], good[:-4], good[:-5], wrong_sum, good[1:], bytes(100)):
        assert chunk.decode(data) is None
    gzipped = zlib.compress(raw, wbits=31)
    for data in (zlib.compress(raw[:-1]), zlib.compress(raw + b"x"), zlib.compress(b""), gzipped):
        assert chunk.decode(data) is None
    for data in (good + b"garbage", good + bytes(20), zlib.compress(raw, 0), zlib.compress(raw, 9)):
        assert chunk.decode(data) == raw
        assert Chunk(array, ["gzip"], 0, data).by_h5py() == raw


def test_what_is_not_installed_is_done_without(monkeypatch):
    find = importlib.import_module

    def import_module(name, package=None):
        if name.partition(".")[0] in {"deflate", "isal", "zlib_ng", "hdf5plugin"}:
            raise ImportError(name)
        return find(name, package)

    monkeypatch.setattr(importlib, "import_module", import_module)
    chunk = Chunk(compressible((3, 100), "<i4"), ["shuffle", "gzip"])
    pipeline = Pipeline(chunk.filters, len(chunk.values))
    assert pipeline.description == "shuffle by NumPy, deflate by zlib"
    assert decoded(pipeline, chunk.stored, chunk) == chunk.values
    blosc2 = [Filter(NUMBERS["blosc2"], (1, 0, 4, 400))]
    assert unsupported(blosc2) == "filter blosc2 needs the package hdf5plugin"
    with pytest.raises(DatasetError, match="needs the package hdf5plugin"):
        Pipeline(blosc2, 400)


def test_why_filters_are_not_supported():
    shuffle, fletcher32_, deflate, lzf = Filter(2, (4,)), Filter(3), Filter(1, (4,)), Filter(NUMBERS["lzf"])
    assert unsupported([]) == unsupported([shuffle, deflate, fletcher32_]) == ""
    assert unsupported([Filter(NUMBERS["scaleoffset"])]) == "filter scaleoffset is decoded by HDF5 only"
    assert unsupported([Filter(12345)]) == "filter 12345 is decoded by HDF5 only"
    assert unsupported([deflate, lzf]) == "filters deflate and lzf follow each other"
    for options in [(), (0,)]:
        assert unsupported([Filter(2, options)]) == "filter shuffle has no size of items"


def test_pipelines_are_pickled():
    chunk = Chunk(compressible((3, 100), "<i4"), ["shuffle", "gzip"])
    pipeline = pickle.loads(pickle.dumps(Pipeline(chunk.filters, len(chunk.values))))
    assert decoded(pipeline, chunk.stored, chunk) == chunk.values


def pipelines_for_threads():
    chunks = [
        Chunk(compressible((50, 300), "<i4", seed), ["shuffle", f, "fletcher32"])
        for f in ["gzip", "lzf", *(PLUGINS if find_spec("hdf5plugin") else ())]
        for seed in (0, 1)
    ]
    made = {}
    for chunk in chunks:
        made.setdefault(str(chunk.filters), Pipeline(chunk.filters, len(chunk.values)))
    return [(made[str(chunk.filters)], chunk) for chunk in chunks]


def test_threads_share_pipelines():
    work = pipelines_for_threads()
    wrong = []
    start = threading.Barrier(4)

    def decode_all(number):
        for i in range(len(work)):
            pipeline, chunk = work[i ^ number % 2]  # the same pipeline at the same time, another chunk
            start.wait(60)
            if any(decoded(pipeline, chunk.stored, chunk) != chunk.values for _ in range(20)):
                wrong.append(pipeline.description)

    threads = [threading.Thread(target=decode_all, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_goes_on():
    work = pipelines_for_threads()
    stop = threading.Event()

    def decode_all():
        for pipeline, chunk in itertools.cycle(work):
            if stop.is_set():
                return
            decoded(pipeline, chunk.stored, chunk)

    thread = threading.Thread(target=decode_all)
    thread.start()
    try:
        for _ in range(10):
            child = os.fork()
            if not child:
                signal.alarm(60)  # ends it, were it to hang
                good = all(decoded(pipeline, chunk.stored, chunk) == chunk.values for pipeline, chunk in work)
                os._exit(0 if good else 1)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        thread.join()
