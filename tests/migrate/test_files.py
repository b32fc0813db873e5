"""befit migrate: files, folders, notebooks, exit codes."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import pytest

from befit.cli import migrate
from befit.errors import ArgumentError
from befit.migrate.files import scripts
from befit.migrate.notebook import migrate_notebook

OLD = "from keras.utils import np_utils\ny = np_utils.normalize(y)\n"
NEW = "import befit\ny = befit.normalize(y)\n"
LEFT = "m.fit_generator(**k)\n"


def run(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    migrate.add_parser(parser.add_subparsers())
    options = parser.parse_args(["migrate", *map(str, arguments)])
    code: int = options.run(options)
    return code


def test_a_diff_is_printed_and_nothing_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "old.py"
    path.write_text(OLD)
    assert run(path) == 0
    assert capsys.readouterr().out == (
        f"--- {path}\n+++ {path}\n@@ -1,2 +1,2 @@\n-from keras.utils import np_utils\n"
        "-y = np_utils.normalize(y)\n+import befit\n+y = befit.normalize(y)\n"
    )
    assert path.read_text() == OLD


def test_what_is_left_is_listed_and_exit_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.py").write_text(OLD + LEFT)
    (tmp_path / "b.py").write_text("x = 1\n")
    assert run(tmp_path) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2] == ""
    assert lines[-1].startswith(f"{tmp_path / 'a.py'}:3: fit_generator is called with * or **; write ")


def test_nothing_to_rewrite_is_exit_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.py").write_text(NEW)
    assert run(tmp_path) == 0
    assert capsys.readouterr().out == "nothing to rewrite\n"


def test_files_are_written_in_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, link = tmp_path / "old.py", tmp_path / "link.py"
    path.write_bytes(b"# coding: latin-1\r\n# \xe9\r\n" + OLD.replace("\n", "\r\n").encode())
    path.chmod(0o754)
    link.symlink_to(path)
    untouched = tmp_path / "new.py"
    untouched.write_text(NEW)
    inode = untouched.stat().st_ino
    assert run("--write", link, untouched) == 0
    assert capsys.readouterr().out == f"rewritten {link}\n"
    assert path.read_bytes() == b"# coding: latin-1\r\n# \xe9\r\n" + NEW.replace("\n", "\r\n").encode()
    assert path.stat().st_mode & 0o777 == 0o754
    assert link.is_symlink()
    assert untouched.stat().st_ino == inode
    assert sorted(each.name for each in tmp_path.iterdir()) == ["link.py", "new.py", "old.py"]


def test_a_byte_order_mark_stays(tmp_path: Path) -> None:
    path = tmp_path / "old.py"
    path.write_bytes(b"\xef\xbb\xbf" + OLD.encode())
    assert run("--write", path) == 0
    assert path.read_bytes() == b"\xef\xbb\xbf" + NEW.encode()


def test_a_write_that_fails_leaves_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "old.py"
    path.write_text(OLD)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert run("--write", path) == 1
    assert capsys.readouterr().err == f"befit migrate: {path}: No space left on device\n"
    assert path.read_text() == OLD
    assert list(tmp_path.iterdir()) == [path]


def test_files_that_cannot_be_read_do_not_stop_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "python2.py").write_text("print 3\n")
    (tmp_path / "bytes.py").write_bytes(b"\xff\xfe\n")
    (tmp_path / "coding.py").write_bytes(b"# coding: nothing\n")
    (tmp_path / "odd.ipynb").write_text("{}")
    (tmp_path / "z.py").write_text(OLD)
    assert run("--write", tmp_path, tmp_path / "missing.py") == 1
    output = capsys.readouterr()
    assert output.out == f"rewritten {tmp_path / 'z.py'}\n"
    errors = output.err.splitlines()
    assert [line.split(":")[1].strip() for line in errors] == [
        str(tmp_path / name) for name in ("bytes.py", "coding.py", "odd.ipynb", "python2.py", "missing.py")
    ]


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.py").write_text(OLD + LEFT)
    (tmp_path / "b.py").write_text("print 3\n")
    assert run("--json", tmp_path) == 1
    first, second = json.loads(capsys.readouterr().out)
    assert first["path"] == str(tmp_path / "a.py")
    assert first["changed"] is True
    assert "+import befit" in first["diff"]
    assert [remark["line"] for remark in first["remarks"]] == [3]
    assert second["path"] == str(tmp_path / "b.py")
    assert "no Python 3 source" in second["error"]


def test_folders_are_searched_without_hidden_ones_and_environments(tmp_path: Path) -> None:
    for name in ("a.py", "b/c.py", "b/d.ipynb", "b/e.txt", ".git/f.py", "env/pyvenv.cfg", "env/g.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert list(scripts([tmp_path, Path("h.py")])) == [
        *(tmp_path / name for name in ("a.py", "b/c.py", "b/d.ipynb")),
        Path("h.py"),
    ]


def _notebook(*cells: str | list[str]) -> dict[str, Any]:
    listed = [{"cell_type": "code", "metadata": {"é": 1}, "source": cell, "outputs": []} for cell in cells]
    return {"cells": [{"cell_type": "markdown", "source": ["from keras"]}, *listed], "nbformat": 4}


@pytest.mark.parametrize(("indent", "is_ascii", "end"), [(1, False, "\n"), (2, True, ""), (None, False, "")])
def test_cells_of_a_notebook_are_one_script(indent: int | None, is_ascii: bool, end: str) -> None:
    before = _notebook(
        ["%matplotlib inline\n", "from keras.utils import np_utils\n", "!ls"],
        "%%bash\nls 'it",
        "",
        "if x:\n    !ls\ny = np_utils.normalize(y)\nm.fit_generator(**k)",
    )
    after = _notebook(
        ["%matplotlib inline\n", "import befit\n", "!ls"],
        "%%bash\nls 'it",
        "",
        "if x:\n    !ls\ny = befit.normalize(y)\nm.fit_generator(**k)",
    )
    migration = migrate_notebook(json.dumps(before, indent=indent, ensure_ascii=is_ascii) + end)
    assert migration.text == json.dumps(after, indent=indent, ensure_ascii=is_ascii) + end
    (remark,) = migration.remarks
    assert remark.line == 4
    assert remark.what.startswith("code cell 4: fit_generator")
    assert migrate_notebook(migration.text).text == migration.text


def test_a_notebook_without_anything_old_stays_byte_for_byte() -> None:
    text = json.dumps(_notebook("x = 1"), indent=7)
    assert migrate_notebook(text).text == text


@pytest.mark.parametrize("text", ["", "[]", '{"cells": 3}', '{"cells": [{}]}'])
def test_what_is_no_notebook(text: str) -> None:
    with pytest.raises(ArgumentError, match=r"^a\.ipynb: no notebook"):
        migrate_notebook(text, "a.ipynb")


def test_a_notebook_with_the_marks_of_cells_in_it_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"^a\.ipynb: its cells cannot be told apart"):
        migrate_notebook(json.dumps(_notebook("# befit: cell x", "y = 1")), "a.ipynb")


def test_of_what_cannot_be_read_nothing_else_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "absent.py") == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == f"befit migrate: {tmp_path / 'absent.py'}: No such file or directory\n"
