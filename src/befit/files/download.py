"""The public function: arguments in, a path out."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace

from befit._internal import settings
from befit.errors import ArgumentError, OfflineError
from befit.files.archive import archive_formats
from befit.files.digest import expected_digest
from befit.files.limits import Limits
from befit.files.location import locate, writable_location
from befit.files.obtain import Request, is_cached, is_done, obtain
from befit.files.transfer import TransferOptions
from befit.files.url import is_local


def get_file(
    fname: str | os.PathLike[str] | None = None,
    origin: str | None = None,
    untar: bool = False,
    md5_hash: str | None = None,
    file_hash: str | None = None,
    cache_subdir: str | os.PathLike[str] = "datasets",
    hash_algorithm: str = "auto",
    extract: bool = False,
    archive_format: str | Sequence[str] | None = "auto",
    cache_dir: str | os.PathLike[str] | None = None,
    *,
    force_download: bool = False,
    headers: Mapping[str, str] | None = None,
    timeout: float | tuple[float, float] = 30.0,
    retries: int = 4,
    progress: bool | None = None,
    offline: bool | None = None,
    limits: Limits | None = None,
) -> str:
    """Download a file from a URL if it is not already in the cache, and return its path.

    The file lies at ``cache_dir/cache_subdir/fname``: by default ``~/.keras/datasets/fname``, shared with
    Keras. It gets that name only once it is whole and has the expected digest; whatever goes wrong
    before, an older file of that name stays as it was. Several processes that ask for the same file
    download it once.

    Args:
        fname: Name of the file; an absolute path is used as it is. ``None``: the name that ``origin``
            ends with.
        origin: The URL: ``http``, ``https`` or ``file``.
        untar: Extract the archive and return the folder ``fname`` (without an archive's suffix), which then
            exists: the archive's own folder of that name, or else a folder with all its members. The
            archive is kept beside it, as ``fname.tar.gz``.
        md5_hash: The MD5 digest of the file; older name of ``file_hash``.
        file_hash: The digest of the file, in hexadecimal digits; ``sha256:`` or the like may stand before
            it. It is compared after a download, and with a file that is in the cache already; one that
            differs is downloaded again.
        cache_subdir: Folder below ``cache_dir``; an absolute path is used as it is.
        hash_algorithm: ``'auto'`` (by the length of the digest), ``'md5'``, ``'sha1'``, ``'sha256'``,
            ``'sha384'`` or ``'sha512'``.
        extract: Extract the archive beside itself and return the path of the archive.
        archive_format: ``'tar'`` (plain, or compressed with gzip, bzip2 or xz), ``'zip'``, a list of
            these, or ``'auto'`` for both. ``None`` or an empty list: do not extract. Formats are
            recognised by content.
        cache_dir: The cache; ``None``: the folder that ``KERAS_HOME`` names, else ``~/.keras``.
        force_download: Download even if the file is in the cache; members of an older extraction that were
            edited since are replaced too.
        headers: HTTP headers, such as ``{'Authorization': 'Bearer …'}``; never sent on to another host.
        timeout: Seconds to wait for a connection and for each next part of the answer, or a pair of both.
        retries: How often a transfer that failed for a passing reason is tried again.
        progress: Whether to show a progress bar; ``None``: if standard error is a terminal.
        offline: Whether to use the cache and ``file`` URLs only; ``None``: as ``BEFIT_OFFLINE`` says.
        limits: What an archive may unpack to.

    Returns:
        The path of the file, or with ``untar=True`` of the folder.

    Raises:
        ArgumentError: An argument cannot work, such as an ``fname`` that leaves the cache.
        DownloadError: Nothing usable came from ``origin``, or there is no place to write it to.
        OfflineError: The file is not in the cache and ``offline`` is set.
        DigestError: The bytes that came do not have the expected digest.
        ArchiveError: The file cannot be extracted, or would replace files that are not befit's.
        UnsafeArchiveError: A member would land outside its folder, or the archive exceeds ``limits``.

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     source = pathlib.Path(folder, "source.txt")
        ...     _ = source.write_text("5.1,3.5,1.4,0.2")
        ...     path = get_file("iris.txt", source.as_uri(), cache_dir=folder)
        ...     print(pathlib.Path(path).relative_to(folder).as_posix())
        datasets/iris.txt

    Source: Keras 2.1 documentation, ``keras.utils.get_file``; ``force_download`` and ``origin`` alone:
        Keras 3.
    """
    if not isinstance(origin, str) or not origin:
        hint = f"get_file(origin={fname!r})" if "://" in str(fname) else "get_file('name', 'https://…')"
        raise ArgumentError(f"get_file needs origin, the URL of the file; got {origin!r}, write {hint}")
    formats = archive_formats(archive_format) if extract or untar else ()
    if untar and not formats:
        raise ArgumentError(
            f"untar=True returns an extracted folder, and archive_format={archive_format!r} forbids it"
        )
    request = Request(
        origin=origin,
        location=locate(fname, origin, untar=untar, cache_subdir=cache_subdir, cache_dir=cache_dir),
        expected=expected_digest(md5_hash, file_hash, hash_algorithm),
        formats=formats,
        limits=limits or Limits(),
        transfer=TransferOptions.checked(headers, timeout, retries, progress),
        force=force_download,
        offline=(settings.offline() if offline is None else offline) and not is_local(origin),
    )
    if request.location.file.is_dir():
        raise ArgumentError(f"{request.location.file} is a folder; pass another fname")
    if not force_download and is_done(request):
        return str(request.location.result)
    if request.offline:
        _check_offline(request)
    place = writable_location(request.location)
    if place != request.location:
        warnings.warn(
            f"{request.location.folder} cannot be written; {place.file.name} goes to {place.folder} instead; "
            f"pass cache_dir=… or set KERAS_HOME to choose a folder",
            stacklevel=2,
        )
        if not force_download and is_cached(request):  # readable, only its members have no place there
            request = replace(request, origin=request.location.file.absolute().as_uri(), offline=False)
        request = replace(request, location=place)
        if not force_download and is_done(request):
            return str(place.result)
    obtain(request)
    return str(place.result)


def _check_offline(request: Request) -> None:
    file = request.location.file
    if request.force:
        raise OfflineError(f"force_download=True wants a new {file.name}, and offline forbids to go for it")
    if not is_cached(request):
        state = "has another digest than expected" if file.exists() else "does not exist"
        raise OfflineError(f"offline, and {file} {state}; go online once for {request.label}")
