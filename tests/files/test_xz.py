"""xz with a bound on memory; the oracle is ``lzma``."""

import io
import lzma
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from befit.files.xz import XzReader


def read_all(packed, size=1000):
    reader = XzReader(io.BytesIO(packed))
    return b"".join(iter(lambda: reader.read(size), b""))


@given(st.lists(st.binary(max_size=5000), min_size=1, max_size=4), st.integers(1, 20_000))
def test_the_same_bytes_as_lzma(pieces, size):
    streams = list(map(lzma.compress, pieces))
    assert read_all(b"".join(streams), size) == lzma.decompress(b"".join(streams))
    padded = b"\0\0\0\0".join(streams) + bytes(8)  # allowed by the format, not understood by lzma
    assert read_all(padded, size) == b"".join(pieces)


@pytest.mark.parametrize("cut", [0, 5, 40, -1, -12])
def test_a_cut_file_is_noticed(cut):
    with pytest.raises(EOFError, match="cut short"):
        read_all(lzma.compress(bytes(10**5))[:cut])


def test_garbage_after_the_end_is_noticed():
    with pytest.raises(EOFError):
        read_all(lzma.compress(b"x") + b"garbage")


def with_window_of_a_gibibyte(packed):
    """Patch the header of the first block: LZMA2 with a dictionary of 1 GiB."""
    header = bytearray(packed[12:24])
    assert header[2:4] == b"\x21\x01", "filter LZMA2 with one byte of properties"
    header[4] = 36  # 1 GiB
    header[8:12] = zlib.crc32(header[:8]).to_bytes(4, "little")
    return packed[:12] + bytes(header) + packed[24:]


def test_a_file_that_asks_for_a_gibibyte_of_memory_is_refused():
    huge = with_window_of_a_gibibyte(lzma.compress(b"x"))
    assert lzma.decompress(huge) == b"x"
    with pytest.raises(EOFError, match=r"[Mm]emory"):
        read_all(huge)
