"""``Content-Encoding``: the file as it was before the server compressed it for the way.

befit asks for ``identity``; some servers compress all the same.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator
from urllib.parse import urlsplit

from befit.errors import DownloadError
from befit.files.retry import TransientError

_GZIP = 31  # zlib's number for "gzip header and trailer, largest window"
_GZIP_MAGIC = b"\x1f\x8b"
_CHUNK = 1 << 20


def decoded(chunks: Iterator[bytes], encoding: str, address: str) -> Iterator[bytes]:
    """Return the chunks of the file itself.

    Raises:
        DownloadError: an encoding that was not asked for and is not known here.
        TransientError: the compressed body is damaged or cut short.
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return chunks
    if encoding not in ("gzip", "x-gzip"):
        raise DownloadError(f"{address} came with Content-Encoding {encoding!r}, although none was asked for")
    if urlsplit(address).path.lower().endswith((".gz", ".tgz")):
        # Many servers call a .gz file "gzip-encoded" and mean the file as it is. It was compressed for the
        # way only if there is a .gz file inside.
        start, chunks = _decoded_start(chunks, address)
        if start != _GZIP_MAGIC:
            return chunks
    return _inflated(chunks, address)


def _decoded_start(chunks: Iterator[bytes], address: str) -> tuple[bytes, Iterator[bytes]]:
    """Return the first two decoded bytes, and all chunks as they came."""
    taken = b""
    start = b""
    for chunk in chunks:
        taken += chunk
        start = _decompress(zlib.decompressobj(_GZIP), taken, 2, address)
        if len(start) == 2 or len(taken) > _CHUNK:
            break
    return start, itertools.chain([taken], chunks)


def _inflated(chunks: Iterator[bytes], address: str) -> Iterator[bytes]:
    decoder = zlib.decompressobj(_GZIP)
    for chunk in chunks:
        while chunk:
            if decoder.eof:  # gzip streams may follow one another
                decoder = zlib.decompressobj(_GZIP)
            yield _decompress(decoder, chunk, _CHUNK, address)
            chunk = decoder.unused_data if decoder.eof else decoder.unconsumed_tail
    yield decoder.flush()
    if not decoder.eof:
        raise TransientError(f"the gzip-encoded body of {address} was cut short")


def _decompress(decoder: zlib._Decompress, data: bytes, most: int, address: str) -> bytes:
    try:
        return decoder.decompress(data, most)
    except zlib.error as error:
        raise TransientError(f"the gzip-encoded body of {address} is damaged: {error}") from error
