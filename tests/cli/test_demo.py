"""The main job, as a user runs it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run_demo(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    return subprocess.run(
        [sys.executable, "-m", "befit", "demo", *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=110,
    )  # fmt: skip


@pytest.mark.backends
def test_demo_trains_saves_and_draws(tmp_path: Path) -> None:
    result = run_demo(tmp_path)
    assert result.returncode == 0, result.stderr[-2000:]
    (accuracy,) = re.findall(r"test accuracy +([\d.]+) on 360 digits", result.stdout)
    assert float(accuracy) > 0.95
    assert "two virtual CPU devices" in result.stdout
    assert "hidden (Dense)" in result.stdout
    assert int(re.findall(r"samples per second ([\d,]+)", result.stdout)[0].replace(",", "")) > 0
    output = tmp_path / "demo-output"
    assert (output / "model.png").read_bytes().startswith(b"\x89PNG")
    ElementTree.parse(output / "model.svg")
    assert (output / "model.keras").stat().st_size > 10_000


def test_demo_refuses_an_archive_with_another_digest(tmp_path: Path) -> None:
    result = run_demo(tmp_path, "--sha256", "0" * 64)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("befit demo: ")
    assert not (tmp_path / "demo-output" / "model.keras").exists()


def test_demo_that_learns_too_little_fails(tmp_path: Path) -> None:
    """The exit code says that the accuracy was not reached."""
    result = run_demo(tmp_path, "--epochs", "1")
    assert "test accuracy" in result.stdout
    assert result.returncode == 1


def test_demo_options_are_the_scripts_own(tmp_path: Path) -> None:
    result = run_demo(tmp_path, "--help")
    assert result.returncode == 0
    assert "--origin" in result.stdout
    assert run_demo(tmp_path, "--wrong").returncode == 2


def test_the_example_is_the_code_of_the_demo() -> None:
    example = ROOT / "examples" / "train_digits.py"
    assert example.resolve() == ROOT / "src" / "befit" / "cli" / "demo" / "train_digits.py"
    assert len(example.read_text().splitlines()) <= 120


def test_the_archive_is_the_one_that_the_script_names() -> None:
    """The embedded data is real: 1,797 rows of 64 pixels from 0 to 16, and a digit."""
    import hashlib
    import io
    import tarfile

    import numpy as np

    from befit.cli.demo import train_digits

    content = train_digits.ARCHIVE.read_bytes()
    assert hashlib.sha256(content).hexdigest() == train_digits.SHA256
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        member = archive.extractfile("digits/digits.csv")
        assert member
        table = np.loadtxt(io.TextIOWrapper(member), delimiter=",", dtype=int)
    assert table.shape == (1797, 65)
    assert table[:, :-1].max() == 16
    assert set(table[:, -1]) == set(range(10))
