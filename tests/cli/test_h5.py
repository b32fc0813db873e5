"""befit h5 inspect, befit h5 pack."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from befit.cli.main import main
from befit.hdf5 import packing
from befit.hdf5.explain import explain
from befit.hdf5.inspection import inspect


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with two datasets and a single value."""
    path = tmp_path / "data.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=np.arange(3000.0).reshape(100, 30), chunks=(10, 30), compression="gzip")
        file["group/y"] = np.arange(100)
        file["one"] = 3
    return path


def test_inspect_explains_every_dataset_with_rows(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["h5", "inspect", str(path)]) == 0
    printed = capsys.readouterr().out
    assert printed == "\n\n".join(map(explain, inspect(str(path)))) + "\n"
    assert "group/y: 100 rows of int64" in printed
    assert "x: 100 rows of 30 float64" in printed


def test_inspect_as_json(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["h5", "inspect", str(path), "--json"]) == 0
    output = capsys.readouterr().out
    assert output.count("\n") == 1
    found = {layout["dataset"]: layout for layout in json.loads(output)}
    assert found["x"]["chunk_shape"] == [10, 30]
    assert found["x"]["filters"][0]["name"] == "deflate"
    assert found["group/y"]["fast"] is True


def test_inspect_a_file_without_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with h5py.File(tmp_path / "empty.h5", "w") as file:
        file["one"] = 3
    assert main(["h5", "inspect", str(tmp_path / "empty.h5")]) == 0
    assert "no dataset with rows" in capsys.readouterr().out
    assert main(["h5", "inspect", "--json", str(tmp_path / "empty.h5")]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_inspect_what_is_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text").write_text("text")
    for name in ("text", "missing", "."):
        assert main(["h5", "inspect", str(tmp_path / name)]) == 1
        output = capsys.readouterr()
        assert output.out == ""
        assert output.err.startswith("befit h5: ")
        assert str(tmp_path) in output.err


def test_pack_prints_what_it_made_and_why(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "z.npy", np.random.default_rng(0).random((100, 2000)))
    out = tmp_path / "out.h5"
    assert main(["h5", "pack", str(path), str(tmp_path / "z.npy"), str(out)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"{out}: 1.6 MiB\n")
    described = "z  (100, 2000) float64  contiguous, uncompressed, 1.5 MiB of 1.5 MiB"
    assert f"{described}\n    compressing saves" in printed
    with h5py.File(out) as file:
        assert set(file) == {"x", "group", "one", "z"}


def test_every_option_of_pack(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.h5"
    options = ["--compression", "lzf", "--chunk-rows", "7", "--dtype", "float32"]
    options += ["--shuffle-rows", "--seed", "3"]
    assert main(["h5", "pack", *options, "--json", str(path), str(out)]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["path"] == str(out)
    assert printed["nbytes"] == out.stat().st_size
    x = next(dataset for dataset in printed["datasets"] if dataset["dataset"] == "x")
    assert (x["chunk_shape"], x["filters"][-1]["name"], x["dtype"]) == ([7, 30], "lzf", "float32")
    order = np.random.default_rng(3).permutation(100)
    with h5py.File(out) as file:
        np.testing.assert_array_equal(file["x"][:], np.arange(3000, dtype="f4").reshape(100, 30)[order])
        np.testing.assert_array_equal(file["group/y"][:], order)


def test_pack_images(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    for label, size in (("a", (4, 5)), ("b", (8, 8))):
        (tmp_path / "in" / label).mkdir(parents=True)
        image.fromarray(np.zeros((*size, 3), "u1")).save(tmp_path / "in" / label / "1.png")
    assert main(["h5", "pack", str(tmp_path / "in"), str(tmp_path / "out.h5")]) == 1
    assert main(["h5", "pack", "--image-size", "6x4", str(tmp_path / "in"), str(tmp_path / "out.h5")]) == 0
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["images"].shape == (2, 6, 4, 3)


def test_pack_refuses_to_replace_a_file(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = path.read_bytes()
    assert main(["h5", "pack", str(path), str(path)]) == 1
    assert "--force" in capsys.readouterr().err
    assert path.read_bytes() == before
    assert main(["h5", "pack", str(path), str(path), "--force", "--compression", "none"]) == 0
    assert [layout.storage for layout in inspect(str(path))] == ["contiguous", "contiguous"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["h5"],
        ["h5", "pack", "only.h5"],
        ["h5", "inspect"],
        ["h5", "pack", "a", "b", "--compression", "zip"],
        ["h5", "pack", "a", "b", "--image-size", "224"],
        ["h5", "pack", "a", "b", "--image-size", "axb"],
    ],
)
def test_wrong_usage_is_exit_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: befit h5" in capsys.readouterr().err


def test_an_argument_that_cannot_work_is_exit_2(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--chunk-rows 0", "--dtype int8", "--dtype nothing", "--image-size 0x4"):
        options = option.split()
        assert main(["h5", "pack", str(path), str(path.parent / "out.h5"), *options]) == 2
        assert "befit h5: " in capsys.readouterr().err
    assert not (path.parent / "out.h5").exists()


def test_ctrl_c_is_exit_130(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(packing, "pack", interrupted)
    assert main(["h5", "pack", str(path), str(tmp_path / "out.h5")]) == 130
    assert capsys.readouterr().err == "befit h5: interrupted\n"


def test_other_commands_do_not_load_h5py() -> None:
    code = "import sys, befit.cli.main; sys.exit('h5py' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
