"""What a call of ``get_file`` still has to do, and doing it: cached → downloaded → verified → extracted."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from befit._internal.staging import remove, staging_folder, sweep
from befit.errors import ArchiveError, DigestError, DownloadError, OfflineError, UnsafeArchiveError
from befit.files.archive import looks_like_html
from befit.files.cached import is_cached, is_extracted
from befit.files.digest import ALGORITHMS, Digest
from befit.files.extract import Extracted, extract
from befit.files.fetch import Fetched, fetch
from befit.files.lock import exclusive
from befit.files.lockfile import recorded_url
from befit.files.marker import Record, mark_busy, read_marker, read_members, write_marker
from befit.files.names import Parts
from befit.files.part import Part, part_of
from befit.files.place import decide, move
from befit.files.request import Request
from befit.files.stamp import write_stamp

logger = logging.getLogger(__name__)

_PAGES = {"text/html", "application/xhtml+xml"}
_PAGE_SUFFIXES = {"", ".asp", ".aspx", ".htm", ".html", ".jsp", ".md", ".php", ".txt", ".xhtml", ".xml"}
# A web page under one of these names is never what was asked for, whatever the server calls it.
# fmt: off
_BINARY_SUFFIXES = {
    ".7z", ".bin", ".bz2", ".ckpt", ".gz", ".h5", ".hdf5", ".jpeg", ".jpg", ".keras", ".mat", ".npy", ".npz",
    ".onnx", ".parquet", ".pickle", ".pkl", ".png", ".pt", ".pth", ".safetensors", ".tar", ".tflite",
    ".tfrecord", ".tgz", ".xz", ".zip", ".zst",
}
# fmt: on


def obtain(request: Request) -> None:
    """Do what is missing, while no other process works on the same file."""
    location = request.location
    with exclusive(location.lock):
        cached = not request.force and is_cached(request)
        if cached and (not request.formats or is_extracted(request)):
            return  # another process was faster
        sweep(location.marker)
        if cached:
            sweep(location.file)  # else a download may be gone on with
        elif not request.force and location.file.exists():
            logger.warning("%s has another digest than expected; downloading it again", location.file)
        if not cached or not _extract_cached(request):
            _download(request)


def _extract_cached(request: Request) -> bool:
    """Extract the archive that is in the cache; return whether that was possible or another one is needed."""
    archive = request.location.file
    with staging_folder(archive) as folder:
        try:
            with archive.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                staged = _unpack(request, file, lambda _: size, folder)
        except UnsafeArchiveError:
            raise
        except ArchiveError as error:
            if request.expected is not None or request.offline:
                raise  # it is the file that was promised, or there is no way to another
            logger.warning("%s; downloading it again", error)
            return False
        digest = request.digests.one_of(archive, ALGORITHMS)
        digests = {digest.algorithm: digest.hexdigest}
        members = _put_in_place(request, staged, digests)
    request.digests.accept(archive)
    write_marker(request.location.marker, archive.name, digests, members)
    return True


def _download(request: Request) -> None:
    location = request.location
    if request.offline:
        raise OfflineError(f"offline, and {location.file} is not there any more")
    with part_of(location.file, request.shown_origin, request.expected) as part:
        logger.info("downloading %s", request.label)
        fetched = fetch(
            (request.origin, *request.mirrors),
            part,
            request.algorithms,
            request.transfer,
            verify=partial(_verify, request, part.path),
            work=partial(_unpack_meanwhile, request, part) if request.formats else None,
            description=location.file.name,
        )
        digests = {name: digest.hexdigest for name, digest in fetched.digests.items()}
        if not isinstance(fetched.result, Extracted):
            if fetched.result is None or request.expected is not None:
                # What was promised is kept, even if it cannot be extracted.
                _move_file(request, part.taken_out(), digests, fetched)
            part.forget()
            if fetched.result is not None:
                raise fetched.result
            return
        members = _put_in_place(request, fetched.result, digests, fetched, part.path)
    # The last step: whoever finds it finds nothing left to do.
    write_marker(location.marker, location.file.name, digests, members)


def _unpack_meanwhile(request: Request, part: Part, file: BinaryIO) -> Extracted | ArchiveError:
    """Extract what is being downloaded; an error of the archive is told when the download has ended."""
    staging = part.folder / secrets.token_hex(4)
    staging.mkdir(mode=0o700)
    try:
        return _unpack(request, file, part.plan.wait, staging)
    except BaseException as error:
        remove(staging)
        if isinstance(error, ArchiveError):
            return error
        raise


def _move_file(request: Request, part: Path, digests: Mapping[str, str], fetched: Fetched) -> None:
    """Move a downloaded file to its place, and stamp it."""
    written = part.stat()
    try:
        os.replace(part, request.location.file)
    except OSError:  # on Windows, because somebody reads the older file
        remove(part)
        raise
    write_stamp(
        request.location.file,
        digests,
        url=recorded_url(fetched.url),
        validator=fetched.version.validator,
        written=written,
    )


def _verify(request: Request, part: Path, url: str, found: Mapping[str, Digest], media_type: str) -> None:
    """Refuse a file that is not what was promised, or a web page in place of one."""
    wrong = [promise for promise in request.promises if found[promise.algorithm] != promise]
    name = request.location.file.name
    kept = (
        "; the file in the cache stays as it was"
        if request.location.file.exists()
        else "; nothing was stored"
    )
    if wrong:
        remark = " (what came is a web page)" if looks_like_html(part) else ""
        locked = "" if request.lock is None else request.lock.remark(wrong[0])
        raise DigestError(
            f"{name} from {url}: expected {wrong[0]}, got {found[wrong[0].algorithm]} in "
            f"{part.stat().st_size:,} bytes{remark}{kept}{locked}"
        )
    suffix = PurePosixPath(name).suffix.lower()
    is_page = media_type in _PAGES or suffix in _BINARY_SUFFIXES
    if not request.promises and is_page and suffix not in _PAGE_SUFFIXES and looks_like_html(part):
        raise DownloadError(
            f"{name} from {url}: what came is a web page (HTML), perhaps a login or error page{kept}"
        )


def _unpack(request: Request, archive: BinaryIO, arrived: Callable[[int], int], staging: Path) -> Extracted:
    return extract(
        archive,
        arrived,
        staging,
        name=request.location.file.name,
        formats=request.formats,
        limits=request.limits,
        wanted=request.wanted_folder,
        label=request.label,
    )


def _put_in_place(
    request: Request,
    staged: Extracted,
    digests: Mapping[str, str],
    fetched: Fetched | None = None,
    part: Path | None = None,
) -> dict[Parts, Record]:
    """Move the archive, if it is still a ``part`` file, and the members to their places.

    Where this refuses, nothing has changed. While it moves, the marker on the disk is busy; the members that
    it returns are to be written to a new one.
    """
    location = request.location
    last = read_marker(location.marker)
    known = {} if last is None else read_members(location.marker, last) or {}
    # After an unfinished one, what differs from the records need not be an edit.
    same_archive = last is not None and last.finished and last.is_of(part or location.file, digests)
    kept = decide(
        staged,
        location.folder,
        archive=location.file,
        known=known,
        same_archive=same_archive,
        force=request.force,
    )
    if last is not None:
        mark_busy(location.marker, last, known, finished=same_archive)
    if part is not None and fetched is not None:
        _move_file(request, part, digests, fetched)
    return move(staged, location.folder, kept=kept, known=known)
