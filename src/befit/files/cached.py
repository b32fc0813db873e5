"""What is there already: the file with the expected digest, and what was extracted from it."""

from __future__ import annotations

import logging

from befit.files.digest import Digest
from befit.files.marker import is_complete, read_marker
from befit.files.request import Request
from befit.files.stamp import read_stamp

logger = logging.getLogger(__name__)


def is_cached(request: Request) -> bool:
    """Return whether the file is there and has the digests that it should have."""
    file = request.location.file
    if not file.is_file():
        return False
    for wanted in request.promises or _recorded(request):
        found = request.digests.of(file, wanted.algorithm)
        if found != wanted:
            logger.info("%s has the %s, not the expected %s", file, found, wanted)
            return False
    if request.promises:
        request.digests.accept(file)
    return True


def is_done(request: Request) -> bool:
    """Return whether the file, and what was extracted from it, are all there."""
    return is_cached(request) and (not request.formats or is_extracted(request))


def is_extracted(request: Request) -> bool:
    """Return whether every member of the archive in the cache is in its place."""
    path = request.location.marker
    marker = read_marker(path)
    if marker is None or not marker.is_extracted(request.location.file, request.digests):
        return False
    return is_complete(path, marker)


def _recorded(request: Request) -> list[Digest]:
    """Return the digest that the file had when befit saw it last, if the call asks to verify it."""
    if not request.verify:
        return []
    file = request.location.file
    stamp = read_stamp(file)
    if stamp is None or not stamp.digests:
        return [request.digests.of(file, "sha256")]  # read and recorded now, for the next time
    return [Digest(*next(iter(stamp.digests.items())))]
