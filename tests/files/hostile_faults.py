"""What can go wrong with an answer: functions that take the right ``Reply`` of a server and make it wrong."""

from __future__ import annotations

import gzip
import re
from dataclasses import replace

from hostile_server import Fault, Reply

LOGIN_PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Who are you?</body></html>"


def both(*faults: Fault) -> Fault:
    """One fault after the other, of the same reply."""

    def apply(reply: Reply) -> Reply:
        for fault in faults:
            reply = fault(reply)
        return reply

    return apply


def none(reply: Reply) -> Reply:
    """Nothing goes wrong."""
    return reply


def how(**fields: object) -> Fault:
    """Send the right reply in another way; see the fields of ``Reply``."""
    return lambda reply: replace(reply, **fields)  # type: ignore[arg-type]


def cut(after: int, *, reset: bool = False) -> Fault:
    """End the connection after so many bytes of the body; from the end, if negative."""
    return lambda reply: replace(
        reply, cut=after if after >= 0 else max(0, len(reply.body) + after), reset=reset
    )


def headers(**changed: str | None) -> Fault:
    """Change headers (``content_range=…``), or take them away (``None``)."""

    def apply(reply: Reply) -> Reply:
        fresh = {
            name.replace("_", "-").title().replace("Etag", "ETag"): text for name, text in changed.items()
        }
        kept = {**reply.headers, **fresh}
        return replace(reply, headers={name: text for name, text in kept.items() if text is not None})

    return apply


def refuse(status: int, *, retry_after: str | None = None) -> Fault:
    """Answer with a status and no file."""
    fields = {} if retry_after is None else {"Retry-After": retry_after}
    return lambda reply: Reply(status, fields, b"no")


def redirect(to: str, status: int = 302) -> Fault:
    """Send the client elsewhere."""
    return lambda reply: Reply(status, {"Location": to}, b"")


def page(body: bytes = LOGIN_PAGE) -> Fault:
    """Answer 200 with a web page."""
    return lambda reply: Reply(200, {"Content-Type": "text/html; charset=utf-8"}, body)


def lie(difference: int) -> Fault:
    """Announce more bytes than come, or fewer; where more, the connection ends."""
    return lambda reply: replace(reply, announced=len(reply.body) + difference, leaves=True)


def flip(at: int) -> Fault:
    """Send one byte of the body wrong."""

    def apply(reply: Reply) -> Reply:
        body = bytearray(reply.body)
        if body:
            body[at % len(body)] ^= 1
        return replace(reply, body=bytes(body))

    return apply


def gzipped(reply: Reply) -> Reply:
    """Compress a whole answer for the way, although nobody asked for it."""
    if reply.status != 200:
        return reply
    return replace(
        reply, headers={**reply.headers, "Content-Encoding": "gzip"}, body=gzip.compress(reply.body, 1)
    )


def shifted(by: int, content: bytes) -> Fault:
    """Answer a range with another one of ``content``, and say so."""

    def apply(reply: Reply) -> Reply:
        start, stop = content_range(reply)
        first = max(0, start + by)
        body = content[first : first + stop - start]
        said = f"bytes {first}-{first + len(body) - 1}/{len(content)}"
        return replace(reply, body=body, headers={**reply.headers, "Content-Range": said})

    return in_ranges(apply)


def later(by: int) -> Fault:
    """Answer a range without its first bytes, and say so."""

    def apply(reply: Reply) -> Reply:
        start, stop = content_range(reply)
        first = min(start + by, stop - 1)
        said = f"bytes {first}-{stop - 1}/{reply.headers['Content-Range'].partition('/')[2]}"
        headers = {**reply.headers, "Content-Range": said}
        return replace(reply, body=reply.body[first - start :], headers=headers)

    return in_ranges(apply)


def whole(content: bytes) -> Fault:
    """Answer a range with 200 and everything."""

    def apply(reply: Reply) -> Reply:
        kept = {name: text for name, text in reply.headers.items() if name != "Content-Range"}
        return replace(reply, status=200, headers=kept, body=content)

    return in_ranges(apply)


def in_ranges(fault: Fault) -> Fault:
    """Apply ``fault`` to partial answers only."""
    return lambda reply: fault(reply) if reply.status == 206 else reply


def content_range(reply: Reply) -> tuple[int, int]:
    """The bytes that a partial answer says it has."""
    match = re.match(r"bytes (\d+)-(\d+)/", reply.headers["Content-Range"])
    assert match
    return int(match[1]), int(match[2]) + 1
