"""How to reach an origin: the arguments of ``get_file`` that are about the way."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import SplitResult

from befit._internal.arguments import as_count
from befit.errors import ArgumentError
from befit.files.url import is_same_host

_HEADER_NAME = re.compile(r"[!-9;-~]+")  # printable, no space, no colon
_HEADER_VALUE = re.compile(r"[\t -~]*")
MOST_CONNECTIONS = 32
# All that may go on to another host: any other header can be a credential.
HARMLESS_HEADERS = {"user-agent", "accept", "accept-language"}


@dataclass(frozen=True)
class TransferOptions:
    """How to reach an origin. Timeouts are in seconds."""

    headers: Mapping[str, str] = field(default_factory=dict)
    connect_timeout: float = 30.0
    read_timeout: float = 30.0
    retries: int = 4
    connections: int = 8
    progress: bool | None = None
    storage_options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def checked(
        cls,
        headers: Mapping[str, str] | None,
        timeout: float | tuple[float, float],
        retries: int,
        connections: int,
        progress: bool | None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> TransferOptions:
        """Return the options, or say which cannot work."""
        pair = timeout if isinstance(timeout, tuple) else (timeout, timeout)
        if len(pair) != 2 or not all(
            isinstance(seconds, int | float) and 0 < seconds < math.inf for seconds in pair
        ):
            raise ArgumentError(
                f"timeout is {timeout!r}; write seconds above zero, or (seconds to connect, seconds "
                "between bytes)"
            )
        as_count("retries", retries, minimum=0)
        if as_count("connections", connections) > MOST_CONNECTIONS:
            raise ArgumentError(
                f"connections is {connections}; write at most {MOST_CONNECTIONS}, servers refuse more"
            )
        headers = dict(headers or {})
        for name, value in headers.items():
            if not (
                isinstance(name, str)
                and isinstance(value, str)
                and _HEADER_NAME.fullmatch(name)
                and _HEADER_VALUE.fullmatch(value)
            ):
                raise ArgumentError(f"header {name!r} must be printable ASCII text, and its name one word")
        return cls(headers, *pair, retries, connections, progress, dict(storage_options or {}))

    def for_mirror(self, origin: SplitResult, mirror: SplitResult) -> TransferOptions:
        """Return the options for a mirror, without what was meant for the origin only."""
        if is_same_host(origin, mirror):
            return self
        harmless = {name: text for name, text in self.headers.items() if name.lower() in HARMLESS_HEADERS}
        of_client = self.storage_options if origin.scheme == mirror.scheme else {}
        return replace(self, headers=harmless, storage_options=of_client)
