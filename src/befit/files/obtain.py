"""What a call of ``get_file`` still has to do, and doing it: cached → downloaded → verified → extracted."""

from __future__ import annotations

import contextlib
import logging
import os
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from befit._internal.staging import part_file, staging_folder, sweep
from befit.errors import ArchiveError, DigestError, DownloadError, OfflineError, UnsafeArchiveError
from befit.files.archive import Format, looks_like_html
from befit.files.digest import Digest, FileDigests
from befit.files.extract import Extracted, extract
from befit.files.limits import Limits
from befit.files.location import Location
from befit.files.lock import exclusive
from befit.files.marker import Marker, Record, read_marker, write_marker
from befit.files.names import Parts
from befit.files.place import decide, move
from befit.files.transfer import TransferOptions, transfer
from befit.files.url import split_url, without_credentials

logger = logging.getLogger(__name__)

# A web page under one of these names is never what was asked for.
# fmt: off
_BINARY_SUFFIXES = {
    ".7z", ".bin", ".bz2", ".ckpt", ".gz", ".h5", ".hdf5", ".jpeg", ".jpg", ".keras", ".mat", ".npy", ".npz",
    ".onnx", ".parquet", ".pickle", ".pkl", ".png", ".pt", ".pth", ".safetensors", ".tar", ".tflite",
    ".tfrecord", ".tgz", ".xz", ".zip", ".zst",
}
# fmt: on


@dataclass(frozen=True)
class Request:
    """One call, its arguments checked."""

    origin: str
    location: Location
    expected: Digest | None
    formats: tuple[Format, ...]
    """Which archives to extract; none: the file is wanted as it is."""

    limits: Limits
    transfer: TransferOptions
    force: bool
    offline: bool
    digests: FileDigests = field(default_factory=FileDigests, repr=False)

    @property
    def wanted_folder(self) -> str | None:
        """The folder that the extraction must bring, with ``untar=True``."""
        location = self.location
        return location.result.name if location.result != location.file else None

    @property
    def label(self) -> str:
        """The file and its origin, for errors; without a password that the URL may carry."""
        return f"{self.location.file.name} from {without_credentials(split_url(self.origin))}"


def is_cached(request: Request) -> bool:
    """Return whether the file is there and has the expected digest."""
    file = request.location.file
    if not file.is_file():
        return False
    if request.expected is None:
        return True
    found = request.digests.of(file, request.expected.algorithm)
    if found != request.expected:
        logger.warning("%s has the %s, not the expected %s", file, found, request.expected)
    return found == request.expected


def is_done(request: Request) -> bool:
    """Return whether the file, and what was extracted from it, are all there."""
    return is_cached(request) and (not request.formats or _is_extracted(request))


def _is_extracted(request: Request) -> bool:
    location = request.location
    marker = read_marker(location.marker)
    if marker is None or not marker.is_complete(location.folder):
        return False
    matched = marker.matched(location.file, request.digests)
    if matched is None:
        return False
    if matched != marker:  # the archive was touched or copied: the next call need not read it again
        # No lock: what is written holds for an archive with this digest only. A folder that cannot be
        # written stays as it is.
        with contextlib.suppress(OSError):
            if read_marker(location.marker) == marker:
                write_marker(location.marker, matched)
    return True


def obtain(request: Request) -> None:
    """Do what is missing, while no other process works on the same file."""
    location = request.location
    with exclusive(location.lock):
        cached = not request.force and is_cached(request)
        if cached and (not request.formats or _is_extracted(request)):
            return  # another process was faster
        sweep(location.file)
        sweep(location.marker)
        if not cached or not _extract_cached(request):
            _download(request)


def _extract_cached(request: Request) -> bool:
    """Extract the archive that is in the cache; return whether that was possible or another one is needed."""
    archive = request.location.file
    with staging_folder(archive) as folder:
        try:
            staged = _unpack(request, archive, folder)
        except UnsafeArchiveError:
            raise
        except ArchiveError as error:
            if request.expected is not None or request.offline:
                raise  # it is the file that was promised, or there is no way to another
            logger.warning("%s; downloading it again", error)
            return False
        marker = _put_in_place(request, staged, request.digests.of(archive, "sha256"))
    write_marker(request.location.marker, marker)
    return True


def _download(request: Request) -> None:
    location = request.location
    if request.offline:
        raise OfflineError(f"offline, and {location.file} is not there any more")
    algorithms = {"sha256"} if request.formats else set()
    if request.expected is not None:
        algorithms.add(request.expected.algorithm)
    with part_file(location.file) as part:
        logger.info("downloading %s", request.label)
        hasher = transfer(request.origin, part, algorithms, request.transfer, description=location.file.name)
        if request.expected is not None:
            _verify(request, part, hasher.digest(request.expected.algorithm))
        elif _is_web_page(request, part):
            raise DownloadError(
                f"{request.label}: what came is a web page (HTML), perhaps a login or error page; "
                f"nothing was stored"
            )
        if not request.formats:
            os.replace(part, location.file)
            return
        with staging_folder(location.file) as folder:
            try:
                staged = _unpack(request, part, folder)
            except ArchiveError:
                if request.expected is not None:
                    os.replace(part, location.file)  # it cannot be extracted, but it is what was promised
                raise
            marker = _put_in_place(request, staged, hasher.digest("sha256"), part)
        write_marker(location.marker, marker)  # the last step: whoever finds it finds nothing left to do


def _verify(request: Request, part: Path, found: Digest) -> None:
    if found == request.expected:
        return
    remark = " (what came is a web page)" if looks_like_html(part) else ""
    kept = (
        "; the file in the cache stays as it was"
        if request.location.file.exists()
        else "; nothing was stored"
    )
    raise DigestError(
        f"{request.label}: expected {request.expected}, got {found} in {part.stat().st_size:,} "
        f"bytes{remark}{kept}"
    )


def _is_web_page(request: Request, part: Path) -> bool:
    suffix = PurePosixPath(request.location.file.name).suffix.lower()
    return not request.formats and suffix in _BINARY_SUFFIXES and looks_like_html(part)


def _unpack(request: Request, archive: Path, staging: Path) -> Extracted:
    return extract(
        archive,
        staging,
        name=request.location.file.name,
        formats=request.formats,
        limits=request.limits,
        wanted=request.wanted_folder,
        label=request.label,
    )


def _put_in_place(request: Request, staged: Extracted, digest: Digest, part: Path | None = None) -> Marker:
    """Move the archive, if it is still a ``part`` file, and the members to their places.

    Where this refuses, nothing has changed. While it moves, the marker on the disk is unfinished; the one
    that it returns is to be written.
    """
    location = request.location
    last = read_marker(location.marker)
    known: dict[Parts, Record] = {} if last is None else last.members
    kept = decide(
        staged,
        location.folder,
        archive=location.file,
        known=known,
        same_archive=last is not None and last.archive_sha256 == digest.hexdigest,
        force=request.force,
    )
    if last is not None:
        write_marker(location.marker, replace(last, finished=False))
    if part is not None:
        os.replace(part, location.file)
    members = move(staged, location.folder, kept=kept, known=known)
    found = location.file.stat()
    return Marker(True, digest.hexdigest, found.st_size, found.st_mtime_ns, members)
