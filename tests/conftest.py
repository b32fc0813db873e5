"""Fixtures for every room."""

from __future__ import annotations

import os

import pytest


@pytest.fixture
def backend() -> str:
    """The Keras backend of this run."""
    return os.environ["KERAS_BACKEND"]


@pytest.fixture(autouse=True)
def keras_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has a cache of its own."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path_factory.mktemp("keras_home")))
