"""Noticing an import that happens inside a block."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys

import pytest

from befit._internal.late_imports import ImportWatch


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The name of a package that can be imported and has not been."""
    folder = tmp_path / "befit_tests_late"
    folder.mkdir()
    (folder / "__init__.py").write_text("import befit_tests_late.part\nvalue = befit_tests_late.part.value")
    (folder / "part.py").write_text("value = 3")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield folder.name
    for name in [name for name in sys.modules if name.partition(".")[0] == folder.name]:
        del sys.modules[name]


@pytest.fixture
def watch():
    """A watch that notes the name and value of what arrived, and waits for nothing in the end."""
    arrived: list[tuple[str, int]] = []
    watch = ImportWatch(lambda name: arrived.append((name, sys.modules[name].value)))
    watch.notes = arrived
    finders = list(sys.meta_path)
    yield watch
    watch.wait_for(())
    assert sys.meta_path == finders


def test_reports_once_the_whole_package_is_there(watch, package):
    watch.wait_for((package,))
    module = importlib.import_module(package)
    assert watch.notes == [(package, 3)]
    assert "exec_module" not in vars(module.__loader__)


def test_other_imports_go_by_unnoticed(watch, package):
    watch.wait_for(("something_else",))
    importlib.import_module(package)
    assert watch.notes == []


def test_does_not_report_when_it_no_longer_waits(watch, package):
    watch.wait_for((package,))
    assert sys.meta_path[0] is watch
    watch.wait_for(())
    assert watch not in sys.meta_path
    importlib.import_module(package)
    assert watch.notes == []


def test_never_changes_the_list_that_an_import_may_be_iterating_over(watch):
    during_import, finders = sys.meta_path, list(sys.meta_path)
    watch.wait_for(("something_else",))
    watch.wait_for(("something_else", "more"))
    assert sys.meta_path.count(watch) == 1
    watch.wait_for(())
    assert during_import == finders


def test_a_package_that_fails_to_import_is_not_reported_until_it_succeeds(watch, package, tmp_path):
    source = tmp_path / package / "__init__.py"
    good = source.read_text()
    source.write_text("raise RuntimeError('not today')")
    watch.wait_for((package,))
    with pytest.raises(RuntimeError, match="not today"):
        importlib.import_module(package)
    assert watch.notes == []
    source.write_text(good + "\n# longer, so that no cached byte code is taken for it")
    importlib.import_module(package)
    assert watch.notes == [(package, 3)]


def test_a_package_that_does_not_exist_is_still_not_found(watch):
    watch.wait_for(("befit_tests_nowhere",))
    with pytest.raises(ModuleNotFoundError, match="befit_tests_nowhere"):
        importlib.import_module("befit_tests_nowhere")


KERAS_INSIDE = """
import sys
from befit import CustomObjectScope, get_custom_objects, register

@register(package='late')
def registered_before(x):
    return x

get_custom_objects()['written_before'] = abs
with CustomObjectScope({'outer': abs}):
    assert 'keras' not in sys.modules
    import keras

    class MyObject(keras.regularizers.Regularizer):
        def __call__(self, weights):
            return keras.ops.sum(weights)

    get_custom_objects()['MyObject'] = MyObject
    layer = keras.layers.Dense(3, kernel_regularizer='MyObject', activation='outer')
    assert type(layer.kernel_regularizer) is MyObject
    assert layer.activation is abs
    assert keras.saving.get_registered_object('MyObject') is MyObject
    assert keras.saving.get_registered_name(registered_before) == 'late>registered_before'

try:
    keras.layers.Dense(3, kernel_regularizer='MyObject')
except ValueError:
    pass
else:
    raise AssertionError('the name outlived its block')
assert keras.saving.get_custom_objects()['written_before'] is abs
assert keras.layers.Dense(3, activation='written_before').activation is abs
del get_custom_objects()['written_before'], get_custom_objects()['late>registered_before']
assert type(keras.saving.get_custom_objects()) is dict
"""


@pytest.mark.backends
def test_keras_imported_inside_the_block():
    environment = {**os.environ, "XLA_FLAGS": ""}
    subprocess.run([sys.executable, "-c", KERAS_INSIDE], check=True, timeout=110, env=environment)


TORCH_INSIDE = """
import io, sys
from befit import CustomObjectScope

class Point:
    pass

with CustomObjectScope({'Point': Point}):
    assert 'torch' not in sys.modules
    import torch
    stored = io.BytesIO()
    torch.save(Point(), stored)
    stored.seek(0)
    assert type(torch.load(stored, weights_only=True)) is Point
assert (Point, '__main__.Point') not in torch.serialization.get_safe_globals()
assert not {type(finder).__name__ for finder in sys.meta_path} & {'ImportWatch'}
"""


def test_torch_imported_inside_the_block():
    subprocess.run([sys.executable, "-c", TORCH_INSIDE], check=True, timeout=110)
