"""Which framework an object belongs to, and the integration that knows that framework.

Nothing here imports a framework: an object of one can only exist once its owner has imported it, and the
integration is imported only then.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

# Keras is asked first: with the torch backend a Keras model is a torch.nn.Module, with the TensorFlow
# backend it is a tf.Module.
FRAMEWORKS = ("keras", "torch", "jax", "tensorflow")

_ROOT_PACKAGES = {
    "keras": "keras",
    "torch": "torch",
    "jax": "jax",
    "jaxlib": "jax",
    "tensorflow": "tensorflow",
}


def framework_of(obj: object) -> str | None:
    """Return the framework that a class of ``obj`` comes from (``"keras"``, ``"torch"`` …), or ``None``.

    >>> import numpy as np
    >>> framework_of(np.zeros(3)) is None
    True
    """
    roots = {_ROOT_PACKAGES.get(cls.__module__.partition(".")[0]) for cls in type(obj).__mro__}
    return next((framework for framework in FRAMEWORKS if framework in roots), None)


def integration(framework: str, capability: str) -> Any:
    """Return the module ``befit.integrations.<framework>.<capability>``.

    It is imported here, by name, because capabilities stand below integrations and never import them.
    """
    module: ModuleType = importlib.import_module(f"befit.integrations.{framework}.{capability}")
    return module
