"""``befit cache``: what is listed, what is called damaged, and above all what is removed."""

from __future__ import annotations

import io
import json
import os
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import befit
from befit.cli import cache as cache_command
from befit.cli.main import main
from befit.files.stamp import read_stamp, stamp_path

DAY = 86400
MEMBERS = {"flower/rose": b"red", "flower/deep/iris": b"blue", "flower/deep/lily": b"white"}


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def bring(home: Path, tmp_path: Path) -> Callable[..., Path]:
    """``bring(name, content, days)``: a file that befit downloaded, last used so many days ago."""

    def call(name: str, content: bytes = b"content", days: float = 0, **arguments: Any) -> Path:
        source = tmp_path / f"source {name}"
        source.write_bytes(content)
        path = Path(befit.get_file(name, source.as_uri(), **arguments))
        file = home / arguments.get("cache_subdir", "datasets") / name
        used = time.time() - days * DAY - 1
        os.utime(stamp_path(file), (used, used))
        return path

    return call


@pytest.fixture
def archive(bring: Callable[..., Path]) -> Path:
    """An extracted archive, last used 100 days ago; the folder that it lies in."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as packed:
        for name, content in MEMBERS.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))
    bring("flower.tar.gz", stream.getvalue(), days=100, extract=True)
    return bring("flower.tar.gz", stream.getvalue(), days=100).parent


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """``run(*arguments, code)``: what ``befit cache`` prints to standard output."""

    def call(*arguments: str | Path, code: int = 0) -> str:
        capsys.readouterr()
        assert main(["cache", *map(str, arguments)]) == code
        return capsys.readouterr().out

    return call


def names_in(folder: Path) -> set[str]:
    """Everything but lock files."""
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    return {name for name in found if not name.endswith(".lock")}


def test_list_says_what_is_there_and_where_it_is_from(
    home: Path, bring: Callable[..., Path], run: Callable[..., str], tmp_path: Path
) -> None:
    bring("iris.csv", bytes(3000), days=12.5)
    bring("net.h5", cache_subdir="models")
    (home / "datasets" / "of keras").write_bytes(b"no stamp")
    lines = [line.split() for line in run("list").splitlines()]
    source = (tmp_path / "source iris.csv").as_uri()
    assert lines[0] == ["NAME", "SIZE", "AGE", "USED", "FROM"]
    assert lines[1] == ["datasets/iris.csv", "2.9", "KiB", "today", "12", "days", source]
    assert lines[2][:5] == ["models/net.h5", "7", "B", "today", "today"]
    assert len(lines) == 3
    assert len(run("list", home / "models").splitlines()) == 2


def test_list_as_json(archive: Path, run: Callable[..., str]) -> None:
    (entry,) = json.loads(run("list", "--json"))
    file = archive / "flower.tar.gz"
    assert entry["path"] == str(file)
    assert entry["bytes"] == file.stat().st_size
    assert entry["extracted_bytes"] == sum(map(len, MEMBERS.values()))
    assert set(entry["digests"]) == {"sha256"}
    assert entry["url"].startswith("file:")
    assert entry["downloaded"] > entry["used"]


def test_an_empty_cache(home: Path, run: Callable[..., str]) -> None:
    home.rmdir()
    assert run("list").splitlines() == ["NAME  SIZE  AGE  USED  FROM"]
    assert run("verify") == "0 files read, none damaged\n"
    assert run("prune", "--max-size", "0") == "0 B freed\n"


def test_a_folder_that_does_not_exist_is_exit_2(tmp_path: Path, run: Callable[..., str]) -> None:
    for action in ("list", "verify", "prune"):
        run(action, tmp_path / "missing", code=2)


def test_verify_reads_everything_again(
    home: Path, bring: Callable[..., Path], run: Callable[..., str]
) -> None:
    good, bad, gone = bring("good"), bring("bad"), bring("gone")
    found = bad.stat()
    bad.write_bytes(b"CONTENT")
    os.utime(bad, ns=(found.st_atime_ns, found.st_mtime_ns))
    gone.unlink()
    for _ in range(2):
        lines = run("verify", code=1).splitlines()
        assert lines[0].startswith(f"damaged: {bad}: recorded as sha256 ")
        assert lines[1:] == ["2 files read, 1 damaged"]
    bad.unlink()
    os.utime(good, (1, 1))
    assert run("verify") == "1 file read, none damaged\n"


def test_verify_says_what_cannot_be_read(
    bring: Callable[..., Path], run: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = bring("f")

    def fails(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("befit.files.digest.digests_of", fails)
    assert f"damaged: {path}: recorded as" in (out := run("verify", code=1))
    assert "Input/output error" in out


def test_prune_removes_what_killed_processes_left(
    home: Path, bring: Callable[..., Path], run: Callable[..., str]
) -> None:
    bring("f", days=1000)
    before = names_in(home)
    gone = "12345678-999999-0123abcd"  # another machine's, and old
    part = home / "datasets" / f".f.{gone}.part"
    staging = home / "datasets" / f".f.{gone}.staging"
    young = home / "datasets" / f".g.{gone}.part"
    staging.mkdir()
    for path in (part, staging / "member", young):
        path.write_bytes(bytes(1024))
    for path in (part, staging):
        os.utime(path, (1, 1))
    orphan = home / "datasets" / ".orphan.stamp.json"
    orphan.write_bytes(b"")
    left = names_in(home)
    assert f"would remove {part}\n" in run("prune", "--dry-run")
    assert names_in(home) == left
    lines = run("prune").splitlines()
    assert sorted(lines[:2]) == [f"removed {part}", f"removed {staging}"]
    assert lines[2:] == ["2.0 KiB freed"]
    assert names_in(home) == before | {young.relative_to(home).as_posix()}


def test_prune_by_age(home: Path, bring: Callable[..., Path], run: Callable[..., str]) -> None:
    old, new = bring("old", days=31), bring("new", days=29)
    assert run("prune", "--older-than", "30d", "--dry-run").splitlines()[0] == f"would remove {old}"
    assert old.exists()
    result = json.loads(run("prune", "--older-than", "30d", "--json"))
    assert result["removed"] == [str(old)]
    assert result["bytes"] > len(b"content")
    assert names_in(home) == {"datasets", "datasets/new", "datasets/.new.stamp.json"}
    assert new.read_bytes() == b"content"


def test_prune_by_size_takes_the_least_recently_used_first(
    home: Path, bring: Callable[..., Path], run: Callable[..., str]
) -> None:
    for name, days in (("b", 3), ("a", 2), ("c", 1)):
        bring(name, bytes(1000), days=days)
    run("prune", "--max-size", "2000")
    assert {"datasets/a", "datasets/c"} <= names_in(home)
    assert "datasets/b" not in names_in(home)
    run("prune", "--max-size", "0.5k")
    assert names_in(home) == {"datasets"}


def test_what_befit_did_not_download_takes_no_room_from_what_it_did(
    home: Path, bring: Callable[..., Path], run: Callable[..., str]
) -> None:
    ours, large = bring("ours", bytes(1000), days=9), bring("large", bytes(9000), days=1)
    forget(large)
    assert run("prune", "--max-size", "2000") == "0 B freed\n"
    assert ours.exists()
    assert large.exists()


def test_prune_takes_what_was_extracted_with_its_archive(
    home: Path, archive: Path, run: Callable[..., str]
) -> None:
    size = sum(path.stat().st_size for path in home.rglob("*") if path.is_file())
    lines = run("prune", "--older-than", "1w", "--json")
    assert json.loads(lines)["bytes"] == size
    assert names_in(home) == {"datasets"}


def test_prune_keeps_what_the_user_wrote_or_edited(
    home: Path, archive: Path, run: Callable[..., str]
) -> None:
    (archive / "flower/rose").write_bytes(b"edited")
    (archive / "flower/deep/own").write_bytes(b"mine")
    (archive / "beside").write_bytes(b"mine")
    run("prune", "--max-size", "0")
    left = {
        path.relative_to(archive).as_posix(): path.read_bytes()
        for path in archive.rglob("*")
        if path.is_file()
    }
    assert {name: content for name, content in left.items() if not name.startswith(".")} == {
        "flower/rose": b"edited",
        "flower/deep/own": b"mine",
        "beside": b"mine",
    }
    source = next(home.parent.glob("source flower*"))
    befit.get_file("flower.tar.gz", source.as_uri(), extract=True)
    assert (archive / "flower/rose").read_bytes() == b"edited", "the record still says that it is an edit"
    assert (archive / "flower/deep/iris").read_bytes() == b"blue"


def test_prune_follows_no_link_out_of_the_cache(
    home: Path, archive: Path, run: Callable[..., str], tmp_path: Path
) -> None:
    (archive / "flower/deep").rename(tmp_path / "moved")
    (archive / "flower/deep").symlink_to(tmp_path / "moved")
    run("prune", "--max-size", "0")
    assert names_in(tmp_path / "moved") == {"iris", "lily"}


def test_a_record_that_names_files_elsewhere_is_not_believed(
    archive: Path, run: Callable[..., str], tmp_path: Path
) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    found = precious.stat()
    manifest = archive / ".flower.tar.gz.members.json"
    content = json.loads(manifest.read_bytes())
    content["members"] = {"..": ["directory", 0, 0], "../..": ["directory", 0, 0]}
    content["members"]["../../precious"] = ["file", found.st_size, found.st_mtime_ns]
    manifest.write_text(json.dumps(content))
    run("prune", "--max-size", "0")
    assert precious.exists()


def edit(path: Path) -> None:
    path.write_bytes(b"CONTENT")


def forget(path: Path) -> None:
    """As where befit only looked at a file of Keras."""
    content = json.loads(stamp_path(path).read_bytes())
    rewrite(path, {**content, "downloaded": None, "url": None})


def rewrite(path: Path, content: dict[str, Any]) -> None:
    found = stamp_path(path).stat()
    stamp_path(path).write_text(json.dumps(content))
    os.utime(stamp_path(path), (found.st_atime, found.st_mtime))


def link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


@pytest.mark.parametrize("change", [edit, forget, link, lambda path: stamp_path(path).unlink()])
def test_prune_never_removes_a_file_that_is_not_as_befit_wrote_it(
    home: Path, bring: Callable[..., Path], run: Callable[..., str], change: Callable[[Path], None]
) -> None:
    path = bring("f", days=1000)
    change(path)
    assert run("prune", "--max-size", "0", "--older-than", "1d").splitlines()[-1] == "0 B freed"
    assert path.exists()


def test_prune_knows_a_touched_file_by_its_content(
    home: Path, bring: Callable[..., Path], run: Callable[..., str]
) -> None:
    path = bring("f", days=1000)
    os.utime(path, (1, 1))
    run("prune", "--older-than", "1d")
    assert not path.exists()


def test_a_file_that_is_used_again_is_not_pruned(
    home: Path, bring: Callable[..., Path], run: Callable[..., str]
) -> None:
    path = bring("f", days=40)
    befit.get_file("f", "https://h/f", offline=True)
    run("prune", "--older-than", "30d")
    assert path.exists()
    assert read_stamp(path) is not None


def test_a_file_that_is_used_while_prune_waits_for_it_is_not_pruned(
    bring: Callable[..., Path], run: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = bring("f", days=40)

    @contextmanager
    def waits(lock: Path) -> Iterator[None]:
        befit.get_file("f", "https://h/f", offline=True)
        yield

    monkeypatch.setattr("befit.files.inventory.exclusive", waits)
    run("prune", "--older-than", "30d")
    assert path.exists()


def test_path(home: Path, bring: Callable[..., Path], run: Callable[..., str]) -> None:
    path, model = bring("f"), bring("net", cache_subdir="models/deep")
    assert run("path") == f"{home}\n"
    for name in ("f", "datasets/f"):
        assert run("path", name) == f"{path}\n"
    assert run("path", "net") == f"{model}\n"
    assert run("path", "missing", code=1) == ""


@pytest.mark.parametrize(
    ("text", "seconds"), [("30d", 30 * DAY), ("1.5h", 5400), ("2w", 14 * DAY), ("90m", 5400)]
)
def test_times(text: str, seconds: float) -> None:
    assert cache_command._duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"), [("10G", 10 << 30), ("1.5 MiB", 3 << 19), ("7", 7), ("2kb", 2048), ("1T", 1 << 40)]
)
def test_sizes(text: str, size: int) -> None:
    assert cache_command._size(text) == size


@pytest.mark.parametrize(
    "arguments", [[], ["prune", "--older-than", "30"], ["prune", "--max-size", "big"], ["clean"]]
)
def test_wrong_usage_is_exit_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["cache", *arguments])
    assert ended.value.code == 2
    assert "usage: befit cache" in capsys.readouterr().err
