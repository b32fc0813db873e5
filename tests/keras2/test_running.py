"""Scripts for Keras 2 that are run as they are, by ``befit run`` and ``python -m befit.keras2``."""

import subprocess
import sys

import pytest

SCRIPT = """\
import sys
import numpy as np
from keras.layers import Dense, Input
from keras.models import Sequential
from keras.utils.np_utils import to_categorical

print(sys.argv, __name__, __file__, sys.path[0])
model = Sequential([Input((2,)), Dense(2, activation="softmax")])
model.compile("sgd", "categorical_crossentropy")
model.fit(np.zeros((4, 2)), to_categorical([0, 1, 1, 0]), nb_epoch=2, verbose=0)
print("trained")
"""


@pytest.fixture(autouse=True)
def _hints(monkeypatch):
    monkeypatch.setenv("BEFIT_KERAS2_HINTS", "1")


def run(*command, cwd):
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=cwd, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("command", [("befit", "run"), ("befit.keras2",)], ids=" ".join)
def test_a_script_runs_with_its_own_arguments(tmp_path, command):
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "train.py").write_text(SCRIPT)
    ran = run(*command, "scripts/train.py", "--help", "-x", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    first, second = ran.stdout.splitlines()
    assert first == (f"['scripts/train.py', '--help', '-x'] __main__ scripts/train.py {tmp_path / 'scripts'}")
    assert second == "trained"
    hints = [line for line in ran.stderr.splitlines() if "Keras2Hint" in line]
    assert len(hints) == 2, ran.stderr
    assert hints[0].startswith("scripts/train.py:5: Keras2Hint: keras.utils.np_utils.to_categorical is gone")
    assert hints[0].endswith("write: from befit import to_categorical")
    assert hints[1].startswith("scripts/train.py:10: ")


def test_a_module_runs_as_python_runs_it(tmp_path):
    (tmp_path / "train.py").write_text(SCRIPT)
    ran = run("befit", "run", "-m", "train", "more", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[0] == (
        f"['{tmp_path / 'train.py'}', 'more'] __main__ {tmp_path / 'train.py'} {tmp_path}"
    )


def test_a_script_that_fails_shows_its_own_frames_only(tmp_path):
    (tmp_path / "bad.py").write_text("def inner():\n    raise OSError('of the script')\n\n\ninner()\n")
    ran = run("befit", "run", "bad.py", cwd=tmp_path)
    assert ran.returncode == 1
    files = [line.split('"')[1] for line in ran.stderr.splitlines() if line.startswith("  File ")]
    assert files == ["bad.py", "bad.py"], ran.stderr
    assert ran.stderr.rstrip().endswith("OSError: of the script")


@pytest.mark.parametrize("command", [("befit", "run"), ("befit.keras2",)], ids=" ".join)
def test_a_script_decides_its_exit_code(tmp_path, command):
    (tmp_path / "ends.py").write_text("raise SystemExit(7)")
    assert run(*command, "ends.py", cwd=tmp_path).returncode == 7


@pytest.mark.parametrize("command", [("befit", "run"), ("befit.keras2",)], ids=" ".join)
def test_a_script_that_is_not_there(tmp_path, command):
    ran = run(*command, "absent.py", cwd=tmp_path)
    assert ran.returncode == 1
    assert ran.stderr.strip().endswith("there is no script 'absent.py'")
    assert len(ran.stderr.splitlines()) == 1
