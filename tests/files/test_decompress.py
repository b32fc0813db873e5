"""Compressed streams: the oracles are the compressors; every decoder that may be installed is tried."""

import bz2
import gzip
import io
import lzma
import sys
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from befit.errors import ArchiveError, MissingDependencyError
from befit.files.decompress import Decoded, bzip2_codec, gzip_codec, xz_codec, zstd_codec

try:
    from compression import zstd
except ImportError:
    zstd = pytest.importorskip("backports.zstd")

PACK = {
    "gzip": gzip.compress,
    "gzip by zlib-ng": gzip.compress,
    "gzip by zlib": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": lambda data: zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1}),
}
CODECS = {"bzip2": bzip2_codec, "xz": xz_codec, "zstd": zstd_codec}
CONTENT = bytes(range(256)) * 40 + bytes(5000)


def codec_of(name):
    """Return the codec; for gzip by one decoder, as if faster ones were not installed."""
    with pytest.MonkeyPatch.context() as patch:
        if "by" in name:
            patch.setitem(sys.modules, "isal.igzip_lib", None)
        if name == "gzip by zlib":
            patch.setitem(sys.modules, "zlib_ng.zlib_ng", None)
        return CODECS.get(name, gzip_codec)()


def read_all(name, packed, size=1000, codec=None):
    stream = Decoded(io.BytesIO(packed), codec or codec_of(name), f"the {name} file")
    return b"".join(iter(lambda: stream.read(size), b""))


def test_the_decoders_that_are_tried_are_three():
    pytest.importorskip("isal")
    pytest.importorskip("zlib_ng")
    modules = {codec_of(name).errors[0].__module__ for name in PACK if name.startswith("gzip")}
    assert modules == {"igzip_lib", "zlib_ng", "zlib"}


@pytest.mark.parametrize("name", PACK)
@given(pieces=st.lists(st.binary(max_size=5000), min_size=1, max_size=4), size=st.integers(1, 20_000))
def test_several_streams_are_one_content(name, pieces, size):
    """Case 28: as pigz, pbzip2 and ``cat`` write it; zero bytes may stand between and behind."""
    streams = [PACK[name](piece) for piece in pieces]
    assert read_all(name, b"".join(streams), size) == b"".join(pieces)
    assert read_all(name, b"\0\0\0\0".join(streams) + bytes(8), size) == b"".join(pieces)


@pytest.mark.parametrize("name", PACK)
def test_long_content_comes_in_the_pieces_asked_for(name):
    content = CONTENT * 100
    stream = Decoded(io.BytesIO(PACK[name](content)), codec_of(name), name)
    found = list(iter(lambda: stream.read(70_000), b""))
    assert b"".join(found) == content
    assert max(map(len, found)) <= 70_000


@pytest.mark.parametrize("name", PACK)
def test_a_cut_is_noticed_wherever_it_is(name):
    """Case 27."""
    packed, codec = PACK[name](CONTENT), codec_of(name)
    for cut in range(len(packed)):
        with pytest.raises(ArchiveError, match=f"the {name} file was cut short"):
            read_all(name, packed[:cut], codec=codec)


@pytest.mark.parametrize("name", PACK)
def test_a_flipped_bit_is_noticed_or_changes_nothing(name):
    """Case 24: of a gzip header, the time and the like may change."""
    packed, codec = PACK[name](CONTENT), codec_of(name)
    for at in range(len(packed) * 8):
        damaged = bytearray(packed)
        damaged[at // 8] ^= 1 << at % 8
        try:
            found = read_all(name, bytes(damaged), codec=codec)
        except ArchiveError:
            continue
        assert found in (CONTENT, b""), at
        assert found or name == "zstd", "a frame that became one to be skipped"


@pytest.mark.parametrize("name", PACK)
def test_what_stands_behind_the_end_is_noticed(name):
    with pytest.raises(ArchiveError):
        read_all(name, PACK[name](b"x") + b"garbage")


def with_window_of_a_gibibyte(packed):
    """Patch the header of the first block: LZMA2 with a dictionary of 1 GiB."""
    header = bytearray(packed[12:24])
    assert header[2:4] == b"\x21\x01", "filter LZMA2 with one byte of properties"
    header[4] = 36  # 1 GiB
    header[8:12] = zlib.crc32(header[:8]).to_bytes(4, "little")
    return packed[:12] + bytes(header) + packed[24:]


def test_an_xz_file_that_asks_for_a_gibibyte_of_memory_is_refused():
    """Case 29."""
    huge = with_window_of_a_gibibyte(lzma.compress(b"x"))
    assert lzma.decompress(huge) == b"x"
    with pytest.raises(ArchiveError, match=r"[Mm]emory"):
        read_all("xz", huge)


def test_a_zstd_file_that_asks_for_a_gibibyte_of_memory_is_refused():
    """Case 29."""
    compressor = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 30})
    huge = compressor.compress(b"x") + compressor.flush()
    wide = {zstd.DecompressionParameter.window_log_max: 30}
    assert zstd.decompress(huge, options=wide) == b"x"
    with pytest.raises(ArchiveError, match="damaged"):
        read_all("zstd", huge)


def skippable(content, number=0):
    return bytes([0x50 + number]) + b"\x2a\x4d\x18" + len(content).to_bytes(4, "little") + content


def test_frames_of_zstd_that_are_to_be_skipped_are_skipped():
    """Case 30: pzstd and others put a table there."""
    packed = skippable(b"hello") + PACK["zstd"](b"abc") + skippable(bytes(10**5), 15) + PACK["zstd"](b"def")
    assert read_all("zstd", packed) == b"abcdef"


def test_without_a_decoder_of_zstd_the_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "compression.zstd", None)
    monkeypatch.setitem(sys.modules, "backports.zstd", None)
    with pytest.raises(MissingDependencyError, match=r'backports\.zstd.*pip install "befit\[files\]"'):
        zstd_codec()


@pytest.mark.parametrize("error", [OSError("connection lost"), EOFError("gone"), ValueError("closed")])
def test_what_the_file_itself_raises_is_not_called_damage(error):
    class Broken(io.BytesIO):
        def read(self, size=-1):
            raise error

    with pytest.raises(type(error)) as caught:
        Decoded(Broken(), gzip_codec(), "the gzip file").read(10)
    assert caught.value is error
