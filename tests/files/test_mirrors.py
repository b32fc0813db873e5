"""Several origins of one file, tried in turn."""

import sys
from pathlib import Path

import pytest

from befit.errors import DigestError, DownloadError
from befit.files.origin import Version
from befit.files.retry import TransientError

sys.path.append(str(Path(__file__).parent))
from scripted_origin import CONTENT, SHA256, Scripted, run_fixture, target_fixture  # noqa: F401


def test_a_mirror_is_taken_when_the_origin_fails(run):
    mirror = Scripted()
    assert run(Scripted(DownloadError("no such file")), mirror) == CONTENT
    assert mirror.asked == [(0, None)]


def test_with_a_digest_a_mirror_goes_on_with_the_origins_bytes(run):
    dead = Scripted(100_000, *[TransientError("down")] * 3)
    mirror = Scripted(version=Version(len(CONTENT), '"of the mirror"', is_strong=True))
    assert run(dead, mirror, expected=SHA256) == CONTENT
    assert mirror.asked == [(100_000, len(CONTENT))]


def test_without_a_digest_a_mirror_begins_anew(run):
    mirror = Scripted(content=CONTENT[::-1])
    assert run(Scripted(100_000, *[TransientError("down")] * 3), mirror) == CONTENT[::-1]
    assert mirror.asked == [(0, None)]


def test_a_mirror_that_has_another_file_is_passed_over(run):
    assert run(Scripted(content=CONTENT[::-1]), Scripted(), expected=SHA256) == CONTENT


def test_all_origins_that_failed_are_named(run):
    with pytest.raises(DownloadError, match=r"none of 2 origins gave x: gone; down .*tried once"):
        run(Scripted(DownloadError("gone")), Scripted(TransientError("down")), retries=0)
    with pytest.raises(DigestError, match="http://h0/x is wrong; http://h1/x is wrong"):
        run(
            Scripted(content=b"a", version=Version(1)),
            Scripted(content=b"b", version=Version(1)),
            expected=SHA256,
        )


def test_only_if_all_have_another_file_it_is_an_error_of_the_digest(run):
    with pytest.raises(DownloadError) as caught:
        run(Scripted(content=CONTENT[::-1]), Scripted(DownloadError("gone")), expected=SHA256)
    assert not isinstance(caught.value, DigestError)
    assert "http://h0/x is wrong; gone" in str(caught.value)
