"""The bridges by which open blocks reach frameworks: built for those that are imported, at once or later.

A bridge is the module ``befit.integrations.<framework>.objects``. No framework is ever imported from here:
one that is absent is waited for while a block is open.
"""

from __future__ import annotations

import sys
import threading
from typing import Any, Protocol

from befit._internal import adapters
from befit._internal.late_imports import ImportWatch
from befit.objects.layers import Layer

__all__ = ["Bridge", "KerasBridge", "keras_bridge", "lock", "reach", "release"]

lock = threading.RLock()
"""Guards what the whole process shares: the state below, the bridges' own, and the registry's."""

_bridges: dict[str, Bridge] = {}
_absent: tuple[str, ...] = ("keras", "torch")  # the frameworks without a bridge
_open: dict[Layer, None] = {}  # the open layers of all threads, oldest first


class Bridge(Protocol):
    """How the names of open blocks reach one framework."""

    def reach(self, layer: Layer) -> None:
        """Let the framework see ``layer``; called when its block begins and after each change of it."""

    def release(self, layer: Layer) -> None:
        """Leave the framework as if ``layer`` had never been; it may never have been reached."""


class KerasBridge(Bridge, Protocol):
    """What the registry needs to know of Keras' own."""

    def custom_objects(self) -> dict[str, Any]:
        """Return Keras' process-wide dictionary of custom objects."""

    def register(self, obj: Any, package: str, name: str) -> None:
        """Register ``obj`` with Keras as ``package>name``."""

    def registered_name(self, obj: Any) -> str:
        """Return the name that ``obj`` is registered under with Keras, or its ``__name__``."""


def keras_bridge() -> KerasBridge | None:
    """Return the bridge to Keras, or ``None`` while Keras is not imported."""
    bridge: Any = _bridge("keras")
    return bridge  # type: ignore[no-any-return]


def reach(layer: Layer) -> None:
    """Make the names of ``layer`` known wherever names are looked up; call again after a change."""
    with lock:
        _open[layer] = None
        for framework in _absent:
            _bridge(framework)
        for bridge in _bridges.values():
            bridge.reach(layer)
        _watch.wait_for(_absent)


def release(layer: Layer) -> None:
    """Take back everything that ``reach`` did for ``layer``."""
    with lock:
        _open.pop(layer, None)
        for bridge in _bridges.values():
            bridge.release(layer)
        if not _open:
            _watch.wait_for(())


def _bridge(framework: str) -> Bridge | None:
    if framework not in _bridges and _is_imported(framework):
        _build_bridge(framework)
    return _bridges.get(framework)


def _build_bridge(framework: str) -> None:
    global _absent
    with lock:
        bridge = _bridges[framework] = adapters.integration(framework, "objects")
        for layer in _open:
            bridge.reach(layer)
        _absent = tuple(name for name in _absent if name not in _bridges)
        _watch.wait_for(_absent if _open else ())


def _is_imported(framework: str) -> bool:
    module = sys.modules.get(framework)
    # A module whose own code still runs is in sys.modules already, and has half of its names.
    return module is not None and not getattr(module.__spec__, "_initializing", False)


_watch = ImportWatch(arrived=_build_bridge)
