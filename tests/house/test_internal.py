"""Settings, optional imports, adapters, progress."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest

from befit._internal import optional, settings
from befit._internal.adapters import framework_of, integration
from befit._internal.progress import Progress
from befit.errors import ArgumentError, MissingDependencyError


def test_keras_home_is_the_variable_or_the_users_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", "~/elsewhere")
    assert settings.keras_home() == Path.home() / "elsewhere"
    monkeypatch.delenv("KERAS_HOME")
    assert settings.keras_home() == Path.home() / ".keras"


@pytest.mark.parametrize(
    ("text", "value"), [("1", True), ("yes", True), ("0", False), ("", False), (" Off ", False)]
)
def test_switches(text: str, value: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEFIT_OFFLINE", text)
    assert settings.offline() is value


def test_switch_that_is_neither_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEFIT_OFFLINE", "maybe")
    with pytest.raises(ArgumentError, match=r"BEFIT_OFFLINE is 'maybe'; write 1 or 0"):
        settings.offline()


def test_missing_package_names_the_extra() -> None:
    with pytest.raises(MissingDependencyError, match=r'pip install "befit\[plot\]"') as caught:
        optional.require("no_such_package_at_all", extra="plot", purpose="drawing")
    assert isinstance(caught.value, ImportError)


def test_broken_package_is_not_called_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that is there but needs another one says so itself."""
    (tmp_path / "half_installed.py").write_text("import another_missing_package")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="another_missing_package") as caught:
        optional.require("half_installed", extra="plot", purpose="drawing")
    assert not isinstance(caught.value, MissingDependencyError)


@pytest.mark.backends
def test_a_keras_model_is_keras_whatever_its_backend() -> None:
    import keras

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    assert framework_of(model) == "keras"


def test_framework_of_plain_objects() -> None:
    import torch

    assert framework_of(torch.nn.Linear(1, 1)) == "torch"
    assert framework_of(torch.zeros(1)) == "torch"
    assert framework_of(np.zeros(1)) is None
    assert framework_of(print) is None


def test_framework_of_jax_and_tensorflow_arrays() -> None:
    import jax.numpy as jnp
    import tensorflow as tf

    assert framework_of(jnp.zeros(1)) == "jax"
    assert framework_of(tf.zeros(1)) == "tensorflow"


def test_integration_is_found_by_name() -> None:
    assert integration("keras", "graph").__name__ == "befit.integrations.keras.graph"


def test_progress_is_silent_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(10, description="work") as progress:
        progress.advance(10)
    assert capsys.readouterr() == ("", "")


def test_progress_draws_on_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    with Progress(2048, description="work", enabled=True) as progress:
        progress.advance(2048)
    assert "work: 100%" in stderr.getvalue()
    assert "2.00k" in stderr.getvalue()


def test_the_variable_switches_progress_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BEFIT_PROGRESS", "1")
    with Progress(1, description="work", unit="file") as progress:
        progress.advance(1)
    assert "work" in capsys.readouterr().err
