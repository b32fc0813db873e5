"""The note beside an unfinished download: damage that it must bear, and what it must not say."""

import json
import os
import sys
import time
from pathlib import Path

import pytest

from befit._internal.staging import new_download

sys.path.append(str(Path(__file__).parent))
from test_part import (
    DIGEST,
    STRONG,
    TOTAL,
    URL,
    WEAK,
    Part,
    begun,
    leave,
    left,
    taken_over,
    target,  # noqa: F401
)


@pytest.mark.parametrize(
    "note",
    ["[" * 200_000, '{"a":' * 200_000, "1" * 5000, "NaN", "1e999", "\ufeff{}", '"\\ud800"', ""],
    ids=lambda note: note[:8],
)
def test_a_note_that_no_process_wrote_is_refused(target, note):  # noqa: F811
    leave(target)
    (folder,) = left(target)
    (folder / "state.json").write_text(note, encoding="utf-8")
    assert taken_over(target) == 0


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", f"{TOTAL}.0", "2e5", "true"])
def test_a_length_that_is_no_whole_number_is_refused(target, number):  # noqa: F811
    leave(target)
    (folder,) = left(target)
    state = folder / "state.json"
    state.write_text(state.read_text().replace(f'"total": {TOTAL}', f'"total": {number}'))
    assert f'"total": {number}' in state.read_text()
    assert taken_over(target) == 0


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN"])
def test_intervals_without_an_end_are_refused(target, number):  # noqa: F811
    leave(target)
    (folder,) = left(target)
    state = folder / "state.json"
    state.write_text(state.read_text().replace("[[100000, 200000]]", f"[[100000, {number}]]"))
    assert number in state.read_text()
    assert taken_over(target) == 0


def test_nothing_secret_of_the_url_is_noted(tmp_path):
    url = "https://me:passw0rd@example.org/x?signature=s1gn"
    part = Part(tmp_path, None)
    part.begin(url, STRONG, TOTAL)
    part.save()
    note = part.state.read_text()
    assert not [secret for secret in ("me:", "passw0rd", "s1gn") if secret in note]
    assert json.loads(note)["missing"] == [[0, TOTAL]]
    assert Part(tmp_path, None).load(url)
    assert not Part(tmp_path, None).load(url.replace("s1gn", "other"))


def test_a_download_that_cannot_be_gone_on_with_does_not_look_abandoned(target):  # noqa: F811
    part = begun(new_download(target), version=WEAK)
    os.utime(part.folder, (0, 0))
    part.save()
    assert part.folder.stat().st_mtime > time.time() - 3600


def test_bytes_that_came_while_the_others_were_synced_are_not_noted(tmp_path, monkeypatch):
    """The machine may stop right after: only what was there before is on the disk."""
    part = begun(tmp_path, received=10_000)
    (segment,) = part.plan._active
    monkeypatch.setattr("befit.files.part._boot", lambda: None)
    monkeypatch.setattr(os, "fsync", lambda number: part.plan.advance(segment, 5_000))
    part.save()
    assert json.loads(part.state.read_text())["missing"] == [[10_000, TOTAL]]
    assert part.received == 15_000


@pytest.mark.parametrize("is_expected", [True, False])
def test_the_origin_is_asked_about_a_download_that_is_whole(tmp_path, is_expected):
    """Only a digest can tell that it is the file still."""
    expected = DIGEST if is_expected else None
    begun(tmp_path, expected=expected, received=TOTAL).save()
    again = Part(tmp_path, expected)
    assert again.load(URL)
    assert again.plan.missing() == ([] if is_expected else [(TOTAL - 1, TOTAL)])
