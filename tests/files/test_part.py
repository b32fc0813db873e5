"""A download that is not finished: what a later process takes over of it, and what it must not."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from befit._internal.staging import claim_download, give_away, new_download
from befit.files import part as part_module
from befit.files.digest import Digest
from befit.files.origin import Version
from befit.files.part import Part, part_of
from befit.files.plan import Plan, PlanAbandonedError

URL = "http://example.org/x"
TOTAL = 200_000
CONTENT = bytes(range(250)) * 800
STRONG = Version(TOTAL, '"a"', is_strong=True)
WEAK = Version(TOTAL, 'W/"a"')
DIGEST = Digest("sha256", "0" * 64)
OTHER_DIGEST = Digest("sha256", "1" * 64)

# fmt: off
OF_ANOTHER_FILE = [  # what was noted then, and what is asked for now
    ({}, {"url": "http://example.org/y"}), ({}, {"expected": DIGEST}), ({"expected": DIGEST}, {}),
    ({"expected": DIGEST}, {"expected": OTHER_DIGEST}), ({"format": 2}, {}), ({"format": None}, {}),
    ({"boot": "another"}, {}), ({"is_strong": False}, {}),
    ({"expected": DIGEST, "version": WEAK, "digest": None}, {}),
]
IMPOSSIBLE = [  # intervals; for the last four the content is too short
    [[100_000, 150_000], [149_999, TOTAL]], [[150_000, TOTAL], [100_000, 120_000]], [[150_000, 100_000]],
    [[100_000, TOTAL + 1]], [[-1, TOTAL]], [[100_000]], [[1, 2, 3]], [100_000, TOTAL], [["a", "b"]],
    [[None, None]], "missing", None, {}, [], [[0, 100_000]], [[100_001, TOTAL]],
    [[0, 50_000], [150_000, TOTAL]],
]
# fmt: on

posix = pytest.mark.skipif(os.name == "nt", reason="links and signals of POSIX")
in_one_folder = settings(
    deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def target(tmp_path):
    return tmp_path / "file.dat"


def begun(folder, *, expected=None, version=STRONG, received=100_000):
    """A part with the first ``received`` bytes of ``CONTENT``."""
    part = Part(folder, expected)
    segment = part.begin(URL, version, TOTAL)
    with part.path.open("r+b") as file:
        file.write(CONTENT[:received])
    part.plan.advance(segment, received)
    return part


def leave(target, *, expected=None, version=STRONG, received=100_000, **changes):
    """Leave a download for the next process, with ``changes`` in what is noted of it."""
    part = begun(new_download(target), expected=expected, version=version, received=received)
    part.save()
    state = json.loads(part.state.read_text())
    part.state.write_text(json.dumps({**state, **changes}))
    give_away(part.folder, target)


def left(target):
    return list(target.parent.iterdir())


def taken_over(target, *, expected=None, url=URL):
    """What a call finds already there: how many bytes; afterwards nothing may be left."""
    with part_of(target, url, expected) as part:
        received = part.received if part.is_begun else 0
        assert sorted(path.name for path in part.folder.iterdir()) == (
            ["content", "state.json"] if part.is_begun else []
        )
    assert left(target) == []
    return received


# What is noted is found again


@st.composite
def progress(draw):
    """A length, what is there of it, and a version."""
    total = draw(st.integers(1, 1 << 40))
    ends = sorted(draw(st.lists(st.integers(0, total), max_size=8, unique=True)))
    version = Version(total, draw(st.none() | st.text()), is_strong=draw(st.booleans()))
    return version, [(start, end) for start, end in zip(ends[::2], ends[1::2], strict=False)]


@in_one_folder
@given(progress(), st.sampled_from([None, DIGEST]), st.text())
def test_what_is_saved_is_loaded(tmp_path, progress, expected, url):
    version, missing = progress
    assume(missing or expected)
    part = begun(tmp_path, expected=expected, received=0)
    part.url, part.version, part.plan = url, version, Plan(version.total, missing)
    with part.path.open("r+b") as file:
        file.truncate(version.total)
    part.save()
    again = Part(tmp_path, expected)
    assert again.load(url) == (expected is not None or version.is_strong)
    if again.is_begun:
        assert (again.url, again.version, again.plan.missing()) == (url, version, missing)
        assert again.plan.total == version.total
        assert again.is_mixed, "a wrong digest may be the fault of the bytes that were there"


def test_bytes_on_their_way_are_missing_for_a_later_process(tmp_path):
    part = begun(tmp_path, received=10_000)
    part.plan.split(1)
    part.save()
    assert json.loads(part.state.read_text())["missing"] == [[10_000, 105_000], [105_000, TOTAL]]


def test_where_nothing_tells_the_runs_of_the_machine_apart_the_bytes_are_on_the_disk_first(
    tmp_path, monkeypatch
):
    synced = []
    monkeypatch.setattr(part_module.os, "fsync", lambda number: synced.append(os.fstat(number).st_ino))
    part = begun(tmp_path)
    monkeypatch.setattr(part_module, "_boot", lambda: None)
    part.save()
    assert synced == [part.path.stat().st_ino]
    assert Part(tmp_path, None).load(URL)


def test_a_new_beginning_keeps_no_byte_and_no_note_of_the_old_one(tmp_path):
    part = begun(tmp_path)
    part.save()
    plan = part.plan
    part.is_mixed = True
    part.begin(URL, Version(50_000, '"b"', is_strong=True), 10)
    assert not part.state.exists()
    assert part.path.stat().st_size == 0
    assert (part.received, part.is_mixed) == (0, False)
    with pytest.raises(PlanAbandonedError):
        plan.wait(1)


# What is taken over


def test_a_download_is_gone_on_with(target):
    leave(target)
    assert taken_over(target) == 100_000


@pytest.mark.parametrize(("then", "now"), OF_ANOTHER_FILE)
def test_what_may_be_of_another_file_is_not_taken_over(target, then, now):
    leave(target, **then)
    assert taken_over(target, **now) == 0


@pytest.mark.parametrize("changes", [{"boot": "another"}, {"url": "http://example.org/y"}, {"version": WEAK}])
def test_a_digest_tells_in_the_end_whether_old_bytes_were_right(target, changes):
    leave(target, expected=DIGEST, **changes)
    assert taken_over(target, expected=DIGEST) == 100_000


def test_bytes_that_only_a_digest_could_tell_are_not_noted_without_one(target):
    part = begun(new_download(target), version=WEAK)
    part.save()
    assert not part.state.exists()


@pytest.mark.parametrize("missing", IMPOSSIBLE, ids=repr)
def test_intervals_that_cannot_be_are_refused(target, missing):
    leave(target, missing=missing)
    assert taken_over(target) == 0


@pytest.mark.parametrize("missing", [[[100_000, TOTAL]], [[0, TOTAL]], [[0, 10], [20, 30], [99_999, TOTAL]]])
def test_intervals_that_can_be_are_taken(target, missing):
    leave(target, missing=missing)
    assert taken_over(target) == TOTAL - sum(end - start for start, end in missing)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.floats() | st.text(max_size=5),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=3), values, max_size=3),
    max_leaves=6,
)
KEYS = ["format", "boot", "url", "digest", "total", "validator", "is_strong", "missing"]


@in_one_folder
@given(st.dictionaries(st.sampled_from(KEYS), JSON, max_size=3), st.sets(st.sampled_from(KEYS), max_size=1))
def test_a_damaged_note_is_refused_or_still_possible(tmp_path, changes, dropped):
    part = begun(tmp_path)
    part.save()
    state = {**json.loads(part.state.read_text()), **changes}
    part.state.write_text(json.dumps({key: value for key, value in state.items() if key not in dropped}))
    again = Part(tmp_path, None)
    if again.load(URL):
        ends = [0, *(number for interval in again.plan.missing() for number in interval), again.plan.total]
        assert all(before <= after for before, after in pairwise(ends))
        assert again.version.is_strong
        assert not dropped


@in_one_folder
@given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()), st.integers(0, 300))
def test_a_torn_note_is_refused(tmp_path, other, length):
    part = begun(tmp_path)
    part.save()
    whole = part.state.read_bytes()
    for note in (other, whole[: min(length, len(whole) - 1)], whole[:length] + b"\0" * (len(whole) - length)):
        if note != whole:
            part.state.write_bytes(note)
            assert not Part(tmp_path, None).load(URL)


@pytest.mark.parametrize("damage", ["gone", "a folder", "too short"])
def test_content_that_is_not_what_the_note_says_is_refused(target, damage):
    leave(target)
    (folder,) = left(target)
    content = folder / "content"
    os.truncate(content, 99_999)
    if damage != "too short":
        content.unlink()
    if damage == "a folder":
        content.mkdir()
    assert taken_over(target) == 0


def test_what_cannot_be_used_is_removed_and_the_next_one_tried(target):
    leave(target, format=2)
    leave(target, boot="another")
    leave(target)
    leave(target, missing=None)
    with part_of(target, URL, None) as part:
        assert part.received == 100_000
        assert left(target) == [part.folder]


def test_members_of_an_extraction_that_ended_early_are_removed(target):
    leave(target)
    (folder,) = left(target)
    (folder / "0123abcd" / "flower").mkdir(parents=True)
    (folder / "0123abcd" / "flower" / "rose.txt").write_text("red")
    (folder / "state.json.new").write_text("{")
    assert taken_over(target) == 100_000


@pytest.mark.parametrize("expected", [None, DIGEST])
def test_only_with_a_digest_another_server_goes_on_with_the_bytes(tmp_path, expected):
    part = begun(tmp_path, expected=expected)
    part.go_on("http://mirror/x")
    assert part.is_begun == (expected is not None)
    if expected is not None:
        there = (part.url, part.version, part.received, part.is_mixed)
        assert there == ("http://mirror/x", Version(TOTAL), 100_000, True)


def test_the_first_validator_counts_and_a_weak_one_leaves_a_doubt(tmp_path):
    part = begun(tmp_path, expected=DIGEST, version=Version(TOTAL))
    assert part.accept(WEAK)
    assert (part.version, part.is_mixed) == (WEAK, True)
    assert not any(map(part.accept, (STRONG, Version(TOTAL + 1))))


# Links that somebody planted


@pytest.fixture
def precious(tmp_path_factory):
    """A folder with files that are none of ours, which must stay as they are."""
    folder = tmp_path_factory.mktemp("precious")
    begun(folder).save()
    before = {path: path.read_bytes() for path in folder.iterdir()}
    yield folder
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@posix
def test_a_link_in_place_of_the_folder_is_removed(target, precious):
    name = new_download(target)
    name.rmdir()
    name.symlink_to(precious)
    give_away(name, target)
    assert taken_over(target) == 0


@posix
def test_a_link_in_place_of_the_content_is_not_followed(target, precious):
    leave(target)
    (folder,) = left(target)
    (folder / "content").unlink()
    (folder / "content").symlink_to(precious / "content")
    assert taken_over(target) == 0
    new = new_download(target)
    (new / "content").symlink_to(precious / "content")
    with pytest.raises(OSError, match="content"):
        Part(new, None).begin(URL, STRONG, TOTAL)


@posix
@pytest.mark.parametrize("name", ["state.json", "state.json.new"])
def test_a_link_in_place_of_the_note_is_not_written_through(target, precious, name):
    leave(target)
    (folder,) = left(target)
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(precious / "state.json")
    with part_of(target, URL, None) as part:
        if part.is_begun:
            part.save()
            assert not part.state.is_symlink()
    assert left(target) == []


# Who has it


def test_of_many_that_claim_a_download_one_gets_it(target):
    for _ in range(20):
        leave(target)
        gate, claimed = threading.Barrier(8, timeout=60), []

        def claim(gate=gate, claimed=claimed):
            gate.wait()
            claimed.append(claim_download(target))

        with ThreadPoolExecutor(8) as pool:
            for _ in range(8):
                pool.submit(claim)
        (folder,) = [path for path in claimed if path is not None]
        assert left(target) == [folder]
        assert len(claimed) == 8
        shutil.rmtree(folder)


CHILD = f"""
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {os.path.dirname(__file__)!r})
from test_part import CONTENT, STRONG, TOTAL, URL, part_of
with part_of(Path(sys.argv[1]), URL, None) as part:
    there = part.received if part.is_begun else 0
    segment = part.plan.claim(TOTAL) if there else part.begin(URL, STRONG, TOTAL)
    with part.path.open("r+b") as file:
        file.seek(there)
        file.write(CONTENT[there : there + 80_000])
    part.plan.advance(segment, 80_000)
    if sys.argv[2] != "fails":
        part.save()
    if sys.argv[2] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if sys.argv[2] == "lives":
        print("ready", flush=True)
        sys.stdin.read()
    raise SystemExit(3)
"""


def start(target, how):
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(target), how], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


@posix
@pytest.mark.parametrize(("how", "code"), [("fails", 3), ("killed", -signal.SIGKILL)])
def test_each_process_goes_on_with_what_the_last_one_had(target, how, code):
    for _ in range(2):
        process = start(target, how)
        process.communicate()
        assert process.returncode == code
        assert len(left(target)) == 1
    with part_of(target, URL, None) as part:
        assert part.received == 160_000
        assert part.path.read_bytes() == CONTENT[:160_000]
    assert left(target) == []


@posix
def test_what_a_living_process_works_on_is_not_taken(target):
    process = start(target, "lives")
    assert process.stdout.readline() == b"ready\n"
    (theirs,) = left(target)
    with part_of(target, URL, None) as part:
        assert not part.is_begun
    assert left(target) == [theirs]
    process.communicate()
    (given,) = left(target)
    assert given != theirs
    assert taken_over(target) == 80_000
