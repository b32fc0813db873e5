"""The bytes of a local file, mapped and read: the same bytes, and an error once the file is another one."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from befit import HDF5Matrix
from befit.errors import DatasetError
from befit.hdf5 import mapped, scratch
from befit.hdf5.mapped import MappedStorage, PreadStorage, open_local, stamp_of
from befit.hdf5.scratch import ScratchFile

SIZE = 5_000
CONTENT = np.random.default_rng(0).integers(0, 256, SIZE, "uint8")
KINDS = [MappedStorage, PreadStorage]


@pytest.fixture
def content(tmp_path: Path) -> Path:
    """A file of random bytes."""
    path = tmp_path / "content"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture(params=KINDS, ids=["mapped", "read"])
def storage(request, content):
    return request.param(str(content), stamp_of(content.stat()))


FIXTURE = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@FIXTURE
@given(data=st.data(), nbytes=st.integers(1, 300))
def test_rows_are_the_bytes_at_any_addresses(storage, data, nbytes):
    addresses = np.array(data.draw(st.lists(st.integers(0, SIZE - nbytes), max_size=40)), np.int64)
    rows = storage.rows(addresses, nbytes)
    assert (rows.shape, rows.dtype) == ((len(addresses), nbytes), np.uint8)
    assert rows.tolist() == [CONTENT[place : place + nbytes].tolist() for place in addresses]


@FIXTURE
@given(spans=st.lists(st.tuples(st.integers(0, SIZE), st.integers(0, 700)), max_size=20))
def test_spans_are_the_bytes_of_any_spans(storage, spans):
    addresses = [place for place, _ in spans]
    sizes = [min(size, SIZE - place) for place, size in spans]
    found = storage.spans(addresses, sizes)
    assert [span.tobytes() for span in found] == [
        CONTENT[place : place + size].tobytes() for place, size in zip(addresses, sizes, strict=True)
    ]


def test_what_is_mapped_cannot_be_written_to(content):
    storage = MappedStorage(str(content), stamp_of(content.stat()))
    for array in (storage.records(3, 4, 2, 4), storage.spans([0], [10])[0]):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def cut(path):
    os.truncate(path, SIZE - 1)


def write_into(path):
    with path.open("r+b") as file:
        file.write(b"!")
    os.utime(path, ns=(1, 1))  # the clock of a file system may be coarse


@pytest.mark.parametrize(
    ("change", "complaint"),
    [(cut, f"was cut from {SIZE} to {SIZE - 1} bytes"), (write_into, "has changed since it was opened")],
)
def test_a_changed_file_is_an_error(storage, content, change, complaint):
    """Whatever is asked of it, and before a byte of it is read."""
    change(content)
    for read in (
        storage.check,
        lambda: storage.rows(np.array([0]), 4),
        lambda: storage.spans([0], [4]),
        lambda: type(storage)(str(content), stamp_of(content.stat())._replace(nbytes=SIZE, mtime_ns=7)),
    ):
        with pytest.raises(DatasetError, match=r"make a new HDF5Matrix"):
            read()
    with pytest.raises(DatasetError, match=complaint):
        storage.check()


def test_a_file_of_the_same_name_is_another_file(storage, content, tmp_path):
    """The one that was opened goes on to be read."""
    (tmp_path / "other").write_bytes(bytes(SIZE))
    (tmp_path / "other").rename(content)
    assert storage.rows(np.array([7]), 5).tolist() == [CONTENT[7:12].tolist()]


def test_a_file_that_is_cut_during_a_read_is_an_error(content, monkeypatch):
    """Nothing can be done about a map then; this is why files of networks are read."""
    storage = PreadStorage(str(content), stamp_of(content.stat()))
    check = storage.check

    def check_then_cut():
        check()
        cut(content)

    monkeypatch.setattr(storage, "check", check_then_cut)
    with pytest.raises(DatasetError, match=rf"ends at byte {SIZE - 1}, before what was to be read"):
        storage.rows(np.array([SIZE - 3]), 3)


def test_short_reads_go_on(content, monkeypatch):
    """The system may return fewer bytes than were asked for."""
    really = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, buffers, place: really(fd, [buffers[0][:7]], place))
    storage = PreadStorage(str(content), stamp_of(content.stat()))
    assert storage.spans([10], [1000])[0].tobytes() == CONTENT[10:1010].tobytes()


def test_rows_are_read_at_once(content, monkeypatch):
    """Sixteen reads are on their way together, as each waits for a disk or a network."""
    together = threading.Barrier(16, timeout=60)
    met, really = threading.local(), os.preadv

    def preadv(*arguments):
        if not hasattr(met, "once"):
            met.once = together.wait()
        return really(*arguments)

    monkeypatch.setattr(os, "preadv", preadv)
    places = np.arange(0, SIZE - 4, 37)
    rows = PreadStorage(str(content), stamp_of(content.stat())).rows(places, 4)
    assert np.array_equal(rows, CONTENT[places[:, None] + np.arange(4)])


def test_slow_gathers_are_announced_until_they_are_quick(content, monkeypatch):
    """A cold file, played by a clock: page faults one after the other take longer than being told of all."""
    storage = MappedStorage(str(content), stamp_of(content.stat()))
    announced, times, from_disk = [], [], True
    monkeypatch.setattr(storage, "_read_from_disk", lambda: from_disk)
    monkeypatch.setattr(storage, "_announce", lambda *spans: announced.append(spans))
    monkeypatch.setattr(mapped.time, "perf_counter", lambda: times.pop(0))

    def gather(seconds):
        times.extend([0.0, seconds])
        storage.rows(np.array([4, 2]), 3)

    gather(0.0001)
    assert announced == []
    gather(0.5)
    assert announced == []
    gather(0.0001)
    assert announced == [([4, 2], [3, 3])]
    for _ in range(mapped._WARM_AGAIN + 3):
        gather(0.0001)
    assert len(announced) == mapped._WARM_AGAIN
    from_disk = False  # it took long because the processor was busy
    gather(0.5)
    gather(0.0001)
    assert len(announced) == mapped._WARM_AGAIN


@pytest.mark.parametrize(("setting", "kind"), [("1", MappedStorage), ("0", PreadStorage)])
def test_the_environment_decides(content, monkeypatch, setting, kind):
    monkeypatch.setenv("BEFIT_MMAP", setting)
    assert type(open_local(str(content), stamp_of(content.stat()))) is kind


@pytest.mark.parametrize(("far", "kind"), [(True, PreadStorage), (False, MappedStorage)])
def test_files_of_a_network_are_not_mapped(content, monkeypatch, far, kind):
    monkeypatch.delenv("BEFIT_MMAP", raising=False)
    monkeypatch.setattr(mapped, "is_far_away", lambda path: far)
    assert type(open_local(str(content), stamp_of(content.stat()))) is kind


@pytest.mark.parametrize("setting", ["0", "1"])
def test_a_matrix_on_a_file_that_was_cut_is_an_error(layouts, tmp_path, monkeypatch, setting):
    """Also where only bytes behind the rows are gone, and for rows that were read before."""
    monkeypatch.setenv("BEFIT_MMAP", setting)
    for name in ("contiguous/f4", "chunked/f4", "chunks split rows/f4", "gzip/f4"):
        path = tmp_path / f"{name.replace('/', ' ')}.h5"
        path.write_bytes(layouts.read_bytes())
        x = HDF5Matrix(path, name)
        x[[3, 4]]
        os.truncate(path, path.stat().st_size - 1)
        for key in ([20, 9], slice(5, 18), slice(None, None, 2)):
            with pytest.raises(DatasetError, match=r"was cut from .* make a new HDF5Matrix"):
                x[key]


class TestScratchFile:
    def test_is_read_where_it_was_written(self, tmp_path):
        file = ScratchFile(str(tmp_path), 1000)
        assert (len(file.memory), file.memory.any()) == (1000, False)
        file.write(CONTENT[:300], 500)
        file.write(CONTENT[300:400], 3)
        assert file.memory[500:800].tobytes() == CONTENT[:300].tobytes()
        assert file.memory[3:103].tobytes() == CONTENT[300:400].tobytes()
        assert list(tmp_path.iterdir()) == []  # it has no name

    def test_parts_of_a_write_go_on(self, tmp_path, monkeypatch):
        really = os.pwrite
        monkeypatch.setattr(os, "pwrite", lambda fd, data, place: really(fd, data[:7], place))
        file = ScratchFile(str(tmp_path), 1000)
        file.write(CONTENT[:900], 50)
        assert file.memory[50:950].tobytes() == CONTENT[:900].tobytes()

    @pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
    def test_a_full_disk_is_explained(self, tmp_path, monkeypatch, code):
        def full(*_):
            raise OSError(code, os.strerror(code))

        file = ScratchFile(str(tmp_path), 1000)
        monkeypatch.setattr(os, "pwrite", full)
        with pytest.raises(
            DatasetError, match=r"no room in .* let the environment variable BEFIT_SCRATCH name"
        ):
            file.write(CONTENT[:10], 0)

    def test_a_folder_that_takes_no_file(self, tmp_path):
        with pytest.raises(DatasetError, match=r"decoded rows cannot be kept in .*none: .*No such file"):
            ScratchFile(str(tmp_path / "none"), 1000)

    def test_a_file_that_cannot_be_mapped_is_closed(self, tmp_path, monkeypatch):
        def full(*_, **__):
            raise OSError(errno.ENOMEM, "Cannot allocate memory")

        before = len(os.listdir("/proc/self/fd"))
        monkeypatch.setattr(scratch.mmap, "mmap", full)
        with pytest.raises(DatasetError, match="Cannot allocate memory"):
            ScratchFile(str(tmp_path), 1000)
        assert len(os.listdir("/proc/self/fd")) == before
