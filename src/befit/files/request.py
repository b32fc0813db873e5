"""One call of ``get_file``, its arguments checked."""

from __future__ import annotations

from dataclasses import dataclass, field

from befit.files.archive import Format
from befit.files.digest import Digest, FileDigests
from befit.files.limits import Limits
from befit.files.location import Location
from befit.files.lockfile import Lock
from befit.files.options import TransferOptions
from befit.files.url import shown, split_url, without_credentials


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
    mirrors: tuple[str, ...] = ()
    """Where the file may be had too."""

    verify: bool = False
    """Whether to read the file even if its stamp knows its digest."""

    lock: Lock | None = None
    digests: FileDigests = field(default_factory=FileDigests, repr=False)

    @property
    def promises(self) -> tuple[Digest, ...]:
        """Every digest that the file must have: the caller's, and that of the lock file."""
        locked = None if self.lock is None else self.lock.digest
        return tuple(dict.fromkeys(digest for digest in (self.expected, locked) if digest is not None))

    @property
    def algorithms(self) -> set[str]:
        """The digests to compute of what is downloaded; never none, for the stamp."""
        promised = {digest.algorithm for digest in self.promises}
        wants_line = self.lock is not None and self.lock.digest is None
        return promised | {"sha256"} if wants_line or not promised else promised

    @property
    def shown_origin(self) -> str:
        """The origin without a password that it may carry."""
        return without_credentials(split_url(self.origin))

    @property
    def wanted_folder(self) -> str | None:
        """The folder that the extraction must bring, with ``untar=True``."""
        location = self.location
        return location.result.name if location.result != location.file else None

    @property
    def label(self) -> str:
        """The file and its origin, for errors; without a password that the URL may carry."""
        return f"{self.location.file.name} from {shown(self.origin)}"
