"""The public function: arguments in, a path out."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from befit._internal import settings
from befit.errors import ArgumentError, OfflineError
from befit.files.archive import archive_formats
from befit.files.cached import is_cached, is_done
from befit.files.digest import FileDigests, expected_digest
from befit.files.limits import Limits
from befit.files.location import locate, writable_location
from befit.files.lockfile import lock_of, record
from befit.files.obtain import obtain
from befit.files.options import TransferOptions
from befit.files.request import Request
from befit.files.stamp import mark_used
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
    mirrors: Sequence[str] = (),
    connections: int = 8,
    storage_options: Mapping[str, Any] | None = None,
    progress: bool | None = None,
    offline: bool | None = None,
    limits: Limits | None = None,
    verify: str = "stamp",
    lock: str | os.PathLike[str] | None = None,
) -> str:
    """Download a file from a URL if it is not already in the cache, and return its path.

    The file lies at ``cache_dir/cache_subdir/fname``: by default ``~/.keras/datasets/fname``, shared with
    Keras. It gets that name only once it is whole and has the expected digest; whatever goes wrong
    before, an older file of that name stays as it was. Several processes that ask for the same file
    download it once.

    Args:
        fname: Name of the file; an absolute path is used as it is. ``None``: the name that ``origin``
            ends with.
        origin: The URL: ``http``, ``https`` or ``file``; with the extra ``remote`` also what fsspec reads,
            such as ``s3://bucket/key``.
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
        archive_format: ``'tar'`` (plain, or compressed with gzip, bzip2, xz or Zstandard), ``'zip'``, a
            list of these, or ``'auto'`` for both. ``None`` or an empty list: do not extract. Formats are
            recognised by content.
        cache_dir: The cache; ``None``: the folder that ``KERAS_HOME`` names, else ``~/.keras``.
        force_download: Download even if the file is in the cache; members of an older extraction that were
            edited since are replaced too.
        headers: HTTP headers, such as ``{'Authorization': 'Bearer …'}``; never sent on to another host.
        timeout: Seconds to wait for a connection and for each next part of the answer, or a pair of both.
        retries: How often a transfer that failed for a passing reason, and got no further than before, is
            tried again. It goes on where it ended, if the server can do that.
        mirrors: URLs of the same file, tried in turn when ``origin`` fails.
        connections: How many connections to one server there may be at once. There is one, and more as long
            as they make the transfer faster.
        storage_options: What fsspec's client of other URLs takes, such as ``{'anon': True}`` for S3.
        progress: Whether to show a progress bar; ``None``: if standard error is a terminal.
        offline: Whether to use the cache and ``file`` URLs only; ``None``: as ``BEFIT_OFFLINE`` says.
        limits: What an archive may unpack to.
        verify: ``'stamp'``: a file in the cache is read for its digest once, and again only after it has
            changed. ``'always'``: it is read by this call; without an expected digest, it is compared with
            the one that befit recorded, and a file that differs is downloaded again.
        lock: A file with lines ``name algorithm:digest url``, as pooch's registries have. The digest of the
            line with this ``origin``, or without a URL and with this name below ``cache_subdir``, is
            expected; a file that has no line gets one, from the first download. ``None``: the file that
            ``BEFIT_LOCK`` names, if any.

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
    if verify not in ("stamp", "always"):
        raise ArgumentError(f"verify is {verify!r}; write 'stamp' or 'always'")
    is_offline = settings.offline() if offline is None else offline
    location = locate(fname, origin, untar=untar, cache_subdir=cache_subdir, cache_dir=cache_dir)
    expected = expected_digest(md5_hash, file_hash, hash_algorithm)
    locked = lock_of(lock, fname, origin, location, expected)
    request = Request(
        origin=origin,
        location=location,
        expected=expected if locked is None or expected is not None else locked.digest,
        formats=formats,
        mirrors=tuple(url for url in _checked_mirrors(mirrors) if is_local(url) or not is_offline),
        limits=limits or Limits(),
        transfer=TransferOptions.checked(headers, timeout, retries, connections, progress, storage_options),
        force=force_download,
        offline=is_offline and not is_local(origin),
        verify=verify == "always",
        lock=locked,
        digests=FileDigests(trust_stamps=verify != "always"),
    )
    if request.location.file.is_dir():
        raise ArgumentError(f"{request.location.file} is a folder; pass another fname")
    if not force_download and is_done(request):
        return _result(request)
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
            copy = request.location.file.absolute().as_uri()
            request = replace(request, origin=copy, mirrors=(), offline=False)
        request = replace(request, location=place)
        if not force_download and is_done(request):
            return _result(request)
    obtain(request)
    return _result(request)


def _checked_mirrors(mirrors: Sequence[str]) -> tuple[str, ...]:
    urls = [mirrors] if isinstance(mirrors, str) else list(mirrors)
    for url in urls:
        if not isinstance(url, str) or not url:
            raise ArgumentError(f"mirrors has {url!r}; write a list of URLs")
    return tuple(urls)


def _result(request: Request) -> str:
    """Note what is to be noted of a file that is there as it was wanted, and return what was asked for."""
    file = request.location.file
    if request.lock is not None and request.lock.digest is None:
        record(request.lock, lambda algorithm: request.digests.of(file, algorithm))
    mark_used(file)
    return str(request.location.result)


def _check_offline(request: Request) -> None:
    file = request.location.file
    if request.force:
        raise OfflineError(f"force_download=True wants a new {file.name}, and offline forbids to go for it")
    if not is_cached(request):
        state = "has another digest than expected" if file.exists() else "does not exist"
        raise OfflineError(f"offline, and {file} {state}; go online once for {request.label}")
