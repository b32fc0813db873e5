"""A file from the first of several origins that gives it, verified."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from befit.errors import DigestError, DownloadError
from befit.files.digest import Digest, digests_in
from befit.files.options import TransferOptions
from befit.files.origin import Origin, Version, open_origin
from befit.files.part import Part
from befit.files.transfer import Transfer, Work
from befit.files.url import shown, split_url, without_credentials

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fetched:
    """A file that came and was found right."""

    url: str
    """Where it is from, without a password."""

    version: Version
    digests: Mapping[str, Digest]
    """By algorithm."""

    result: Any
    """What the work returned that was done on it."""


def fetch(
    urls: Sequence[str],
    part: Part,
    algorithms: Iterable[str],
    options: TransferOptions,
    *,
    verify: Callable[[str, Mapping[str, Digest], str], None],
    work: Work | None,
    description: str,
) -> Fetched:
    """Bring a file into ``part`` from one of ``urls``, tried in turn.

    Args:
        urls: The origin and its mirrors.
        part: Where its bytes go, and perhaps are already.
        algorithms: The digests that are wanted.
        options: How to reach the origins.
        verify: Called with a URL (without password), the digests and the media type; raises ``DigestError``
            or ``DownloadError`` for a file that is not the right one.
        work: What else to do with the file while it comes, if anything.
        description: Stands before the progress bar.

    Raises:
        ArgumentError: a URL that cannot be read.
        DigestError: what came is not what was promised.
        DownloadError: no origin gave the file.
        OSError: the file cannot be written.
    """
    addresses = [split_url(url) for url in urls]
    origins = []
    for url, address in zip(urls, addresses, strict=True):
        theirs = options.for_mirror(addresses[0], address)
        origins.append((without_credentials(address), open_origin(url, theirs)))
    wanted = tuple(algorithms)

    def fetched(url: str, origin: Origin) -> Fetched:
        works: list[Work] = [lambda file: digests_in(file, wanted), *([work] if work else [])]
        for careful in (options, replace(options, connections=1)):
            transfer = Transfer(origin, url, part, works, careful, description=description)
            digests, *result = transfer.run()
            try:
                verify(shown(url), digests, transfer.media_type)
                return Fetched(url, part.version, digests, result[0] if result else None)
            except (DigestError, DownloadError) as error:
                is_mixed = part.is_mixed
                part.forget()
                if not is_mixed or careful is not options:
                    raise
                logger.info("%s; downloading all of it again", error)
        raise AssertionError("unreachable: the second attempt returns or raises")

    errors: list[DigestError | DownloadError] = []
    try:
        for url, origin in origins:
            try:
                return fetched(url, origin)
            except (DigestError, DownloadError) as error:
                errors.append(error)
                if len(origins) > 1:
                    logger.warning("%s", error)
    finally:
        for _, origin in origins:
            origin.close()
    if len(errors) == 1:
        raise errors[0]
    kind = DigestError if all(isinstance(error, DigestError) for error in errors) else DownloadError
    raise kind(f"none of {len(errors)} origins gave {description}: " + "; ".join(map(str, errors)))
