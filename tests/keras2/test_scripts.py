"""Scripts as people wrote them for Keras 2: each runs as it is, and rewritten, with the same results."""

import os
import runpy
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from befit.keras2 import install, uninstall
from befit.legacy.names import METHODS, NAMES
from befit.migrate import migrate_source

sys.path.append(str(Path(__file__).parent))

from keras_state import differences, keras_state, running

pytestmark = [
    pytest.mark.backends,
    pytest.mark.filterwarnings("ignore:Do not pass an `input_shape`"),  # Keras 3 does as before
]

SCRIPTS = sorted((Path(__file__).parent / "scripts").glob("*.py"))
BACKEND = keras.backend.backend()


def header(script, name):
    """Return what a comment at the top of a script says."""
    for line in script.read_text().splitlines()[:3]:
        key, _, value = line.removeprefix("# ").partition(": ")
        if key == name:
            return value
    return ""


HERE = [script for script in SCRIPTS if BACKEND in header(script, "backends").split()]


@pytest.fixture(autouse=True)
def _surroundings(tmp_path, monkeypatch):
    if BACKEND == "torch":
        from befit.replicate import simulate_devices

        simulate_devices(8, framework="torch")
    monkeypatch.chdir(tmp_path)
    yield
    keras.utils.clear_session()


def run(path):
    """Run a script as ``python`` does, and return what it says is its result."""
    sys.path.insert(0, os.path.dirname(path))
    before = running()
    try:
        result = runpy.run_path(str(path), run_name="__main__")["RESULT"]
    finally:
        sys.path.pop(0)
    assert running() <= before, "a thread or process of befit is left"
    return result


def assert_same(one, other, where="RESULT"):
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_same(one[key], other[key], f"{where}[{key!r}]")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), where
        for index, pair in enumerate(zip(one, other, strict=True)):
            assert_same(*pair, f"{where}[{index}]")
    elif isinstance(one, (str, bytes, bool, type(None))):
        assert one == other, where
    else:
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6, err_msg=where)


@pytest.mark.parametrize("script", HERE, ids=lambda script: script.stem)
def test_a_script_runs_as_it_is_and_rewritten(script, tmp_path):
    before = keras_state()
    install()
    try:
        result = run(script)
    finally:
        uninstall()
    assert not differences(before, keras_state())
    assert result, "the script shows nothing"

    migration = migrate_source(script.read_text(), script.name)
    assert bool(migration.remarks) == bool(header(script, "migrate leaves")), migration.remarks
    assert migrate_source(migration.text).text == migration.text
    if migration.remarks:
        return
    assert "befit.keras2" not in migration.text
    (tmp_path / "rewritten").mkdir()
    os.chdir(tmp_path / "rewritten")
    rewritten = tmp_path / script.name
    rewritten.write_text(migration.text)
    assert_same(run(rewritten), result)


def test_there_are_enough_scripts():
    """At least 60 run on JAX, and a third of all on each of the others; each needs befit."""
    assert sum("jax" in header(script, "backends") for script in SCRIPTS) >= 60
    for backend in ("torch", "tensorflow"):
        assert 3 * sum(backend in header(script, "backends") for script in SCRIPTS) >= len(SCRIPTS)


def test_every_row_of_the_table_is_used_by_a_script():
    texts = "\n".join(script.read_text() for script in SCRIPTS)
    gone = {row.name for row in METHODS if row.gone} | {row.name for row in NAMES if "utils" in row.modules}
    assert not [name for name in sorted(gone) if name not in texts]


def test_the_state_of_keras_shows_what_is_changed():
    before = keras_state()
    install()
    found = differences(before, keras_state())
    uninstall()
    assert any(one.startswith("keras.utils: ") for one in found)
    assert any(one.startswith("class Model: ") for one in found)
    assert any(one.startswith("sys.meta_path") for one in found)
    assert not differences(before, keras_state())
