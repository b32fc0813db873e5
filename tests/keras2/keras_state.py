"""What Keras is made of, to see whether it is as it was."""

import gc
import multiprocessing
import sys
import threading
from types import ModuleType

_KERAS = ("keras", "tensorflow.keras", "tensorflow.python.keras", "tf_keras")


def keras_state():
    """Return everything that is in Keras' modules and in ``keras.Model`` and its bases, in order."""
    state = {}
    for name, module in sorted(sys.modules.items()):
        if isinstance(module, ModuleType) and any(f"{name}.".startswith(f"{root}.") for root in _KERAS):
            state[name] = [(key, id(value)) for key, value in vars(module).items()]
    for cls in sys.modules["keras"].Model.__mro__:
        state[f"class {cls.__qualname__}"] = [(key, id(value)) for key, value in vars(cls).items()]
    state["sys.meta_path"] = [
        (type(finder).__name__, id(finder))
        for finder in sys.meta_path
        if type(finder).__module__.startswith("befit.")
    ]
    return state


# What Keras does to itself: its own settings, classes that loading an .h5 file adds, Python's caches.
_BY_KERAS = {
    "keras.src.backend.common.global_state": {"GLOBAL_STATE_TRACKER", "GLOBAL_SETTINGS_TRACKER"},
    "keras.src.layers": {"Functional", "Model", "Sequential"},
}
_BY_PYTHON = {"__warningregistry__", "__annotations__"}


def differences(before, after):
    """Return what is other now.

    Parts of Keras and TensorFlow that were imported from their files meanwhile, and are named in the modules
    above them, are no difference.
    """
    came = {name for name in after.keys() - before.keys() if getattr(sys.modules[name], "__file__", None)}
    found = [f"{name} came" for name in sorted(after.keys() - before.keys() - came)]
    submodules = {name.rpartition(".")[2] for name in came}
    for name in before:
        ignored = _BY_PYTHON | submodules | _BY_KERAS.get(name, set())
        was, now = (
            [item for item in state.get(name, []) if item[0] not in ignored] for state in (before, after)
        )
        if was != now:
            found.append(f"{name}: {sorted({key for key, _ in set(was) ^ set(now)}) or 'the order'}")
    return found


def running():
    """Return the threads of befit and the child processes that run now."""
    gc.collect()
    threads = {thread for thread in threading.enumerate() if thread.name.startswith("befit")}
    return threads | set(multiprocessing.active_children())
