"""``befit get``: every option reaches ``get_file``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import befit
from befit.cli.main import main


@pytest.fixture
def source(tmp_path: Path) -> str:
    path = tmp_path / "source.bin"
    path.write_bytes(b"content")
    return path.as_uri()


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """``passed(*arguments)``: the keyword arguments that ``get_file`` is called with."""
    (tmp_path / "result").write_bytes(b"content")

    def call(*arguments: str) -> dict[str, Any]:
        seen: dict[str, Any] = {}

        def get_file(fname: Path | None, origin: str, **keywords: Any) -> str:
            seen.update(fname=fname, origin=origin, **keywords)
            return str(tmp_path / "result")

        monkeypatch.setattr(befit, "get_file", get_file)
        assert main(["get", "https://h/f", *arguments]) == 0
        return seen

    return call


def test_without_options_everything_keeps_its_default(passed: Callable[..., dict[str, Any]]) -> None:
    assert passed() == {
        "fname": None,
        "origin": "https://h/f",
        "file_hash": None,
        "hash_algorithm": "auto",
        "extract": False,
        "force_download": False,
        "verify": "stamp",
        "lock": None,
    }


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--sha256", "0" * 64], {"file_hash": "0" * 64, "hash_algorithm": "sha256"}),
        (["--md5", "0" * 32], {"file_hash": "0" * 32, "hash_algorithm": "md5"}),
        (["--extract"], {"extract": True}),
        (["--mirror", "https://a/f", "--mirror", "https://b/f"], {"mirrors": ["https://a/f", "https://b/f"]}),
        (
            ["--header", "Authorization: Bearer x:y", "--header", "A:b"],
            {"headers": {"Authorization": "Bearer x:y", "A": "b"}},
        ),
        (["--connections", "3"], {"connections": 3}),
        (["--lock", "befit.lock"], {"lock": Path("befit.lock")}),
        (["--verify"], {"verify": "always"}),
        (["--offline"], {"offline": True}),
        (["--force"], {"force_download": True}),
        (["-o", "here/f"], {"fname": Path("here/f").absolute()}),
    ],
)
def test_options_are_passed_on(
    passed: Callable[..., dict[str, Any]], arguments: list[str], expected: dict[str, Any]
) -> None:
    assert passed(*arguments) == {**passed(), **expected}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--sha256", "0" * 64, "--md5", "0" * 32],
        ["--header", "no colon"],
        ["--header", ": no name"],
        ["--connections", "many"],
    ],
)
def test_wrong_options_are_exit_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["get", "https://h/f", *arguments])
    assert ended.value.code == 2
    assert "usage: befit get" in capsys.readouterr().err


def test_a_lock_file_is_written_and_believed(
    source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock, target = tmp_path / "befit.lock", tmp_path / "target.bin"
    assert main(["get", source, "--lock", str(lock), "-o", str(target)]) == 0
    assert lock.read_text() == f"target.bin sha256:{hashlib.sha256(b'content').hexdigest()} {source}\n"
    (tmp_path / "source.bin").write_bytes(b"changed")
    target.unlink()
    capsys.readouterr()
    assert main(["get", source, "--lock", str(lock), "-o", str(target)]) == 1
    assert f"{lock}, line 1" in capsys.readouterr().err
    assert not target.exists()


def test_verify_finds_damage(source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "target.bin"
    assert main(["get", source, "-o", str(target)]) == 0
    target.write_bytes(b"CONTENT")
    assert main(["get", source, "-o", str(target)]) == 0
    assert target.read_bytes() == b"CONTENT"
    assert main(["get", source, "-o", str(target), "--verify", "--json"]) == 0
    assert target.read_bytes() == b"content"
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["bytes"] == 7
