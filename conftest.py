"""Settings that must stand before a framework starts, and the code of README and docs as tests."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

ROOT = Path(__file__).parent
DEVICES = 8

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["XLA_FLAGS"] = (
    f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={DEVICES}"
)
os.environ["RAY_TQDM_PATCH_PRINT"] = "0"  # Ray would put a function of its own into builtins
os.environ.pop("BEFIT_OFFLINE", None)
os.environ.pop("BEFIT_PROGRESS", None)
os.environ["BEFIT_KERAS2_HINTS"] = "0"  # they are warnings, and warnings are errors

# A shell that starts the tests in the background has them ignore Ctrl-C, and their children with them.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No test, and no code of the documentation, reads or writes the user's own cache.
_home = tempfile.TemporaryDirectory(prefix="befit-keras-home-")
os.environ["KERAS_HOME"] = _home.name


def pytest_configure(config: pytest.Config) -> None:
    if os.environ["KERAS_BACKEND"] == "tensorflow":
        import tensorflow as tf

        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * DEVICES)


def pytest_unconfigure(config: pytest.Config) -> None:
    _home.cleanup()


def pytest_collection_finish(session: pytest.Session) -> None:
    if "befit.keras2" in sys.modules:  # importing it, for its doctests or tests, installs it
        sys.modules["befit.keras2"].uninstall()


def _forget_keras2() -> None:
    """Let the next import of ``befit.keras2`` be the first one."""
    if "befit.keras2" in sys.modules:
        sys.modules["befit.keras2"].uninstall()
        for name in [name for name in sys.modules if f"{name}.".startswith("befit.keras2.")]:
            del sys.modules[name]


def _enter_folder(namespace: dict[str, Any]) -> None:
    """Documents write their files into a folder of their own."""
    namespace["_folder"] = tempfile.TemporaryDirectory(prefix="befit-document-")
    os.chdir(namespace["_folder"].name)
    _forget_keras2()


def _leave_folder(namespace: dict[str, Any]) -> None:
    os.chdir(ROOT)
    _forget_keras2()
    namespace["_folder"].cleanup()


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser()],
    patterns=["README.md", "docs/*.md"],
    setup=_enter_folder,
    teardown=_leave_folder,
).pytest()
