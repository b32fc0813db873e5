"""A batch as one pickle and the arrays that it refers to, which are copied once, to where they are sent."""

from __future__ import annotations

import copyreg
import io
import pickle
import sys
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import CodeType
from typing import Any, ClassVar, NamedTuple, TypeAlias

import cloudpickle
import numpy as np

from befit._internal.adapters import integration
from befit.typing import Array

Reducer: TypeAlias = Callable[[Any], tuple[Any, ...]]

# Stands in a pickle for an array; which one it is, follows from the order. Writable, as the array shall be.
_PLACE = pickle.PickleBuffer(bytearray())

_WITH_TENSORS = ("torch", "jax")
_reducers: dict[type, Reducer] = {}
_reducers_of: set[str] = set()
_spellings: dict[np.dtype[Any], str | np.dtype[Any]] = {}


def _reduce_code(code: CodeType) -> Any:
    # cloudpickle 3.1.3 leaves the file out; a traceback from a worker shows the user's lines only with it.
    construct, arguments = cloudpickle.Pickler.dispatch_table[CodeType](code)
    return construct, tuple(code.co_filename if part == "<dynamic-code>" else part for part in arguments)


class ByValuePickler(cloudpickle.Pickler):
    """Pickles classes and functions of scripts and notebooks whole.

    Args:
        stream: Where the pickle goes.
        reducers: How instances of exactly these types are reduced.
        buffer_callback: As for ``pickle.Pickler``.
    """

    dispatch_table: ClassVar[Any] = ChainMap({CodeType: _reduce_code}, cloudpickle.Pickler.dispatch_table)

    def __init__(
        self, stream: Any, reducers: Mapping[type, Reducer] | None = None, buffer_callback: Any = None
    ) -> None:
        super().__init__(stream, 5, buffer_callback=buffer_callback)
        self._reducers = reducers or {}

    def reducer_override(self, obj: Any) -> Any:
        """Return the reduction of ``obj``, or that pickle is to do as it does."""
        reducer = self._reducers.get(type(obj))
        return super().reducer_override(obj) if reducer is None else reducer(obj)


def dumps(value: Any, reducers: Mapping[type, Reducer] | None = None) -> bytes:
    """Return ``value`` as one pickle, classes and functions of scripts and notebooks whole."""
    stream = io.BytesIO()
    ByValuePickler(stream, reducers).dump(value)
    return stream.getvalue()


class Pickled(NamedTuple):
    """A pickle, and the buffers that ``pickle.loads`` wants with it: arrays in any layout."""

    pickle: bytes
    arrays: list[Array]


def encode(value: Any) -> Pickled:
    """Return ``value`` taken apart; nothing is copied yet."""
    try:
        return _encode(value, by_value=False)
    except Exception:  # noqa: BLE001 - pickle has no common error; the other one takes classes of __main__ too
        return _encode(value, by_value=True)


def decode(pickled: Any, buffers: Sequence[Any]) -> Any:
    """Return the value; its arrays lie in ``buffers``, which stay in use as long as they do."""
    return pickle.loads(pickled, buffers=buffers)


def _encode(value: Any, *, by_value: bool) -> Pickled:
    arrays: list[Array] = []

    def reduce_array(array: Array) -> Any:
        if array.dtype.hasobject or array.dtype.metadata is not None:  # in which anything may be
            return array.__reduce_ex__(5)
        fortran = array.flags.f_contiguous and not array.flags.c_contiguous
        arrays.append(array.T if fortran else array)
        # NumPy's own reduction cannot take arrays with gaps out of the pickle, and takes twice the time.
        return np.ndarray, (array.shape, spelled(array.dtype), _PLACE, 0, None, "F" if fortran else "C")

    def keep(buffer: pickle.PickleBuffer) -> None:
        if buffer is not _PLACE:
            arrays.append(np.frombuffer(buffer.raw(), np.uint8))

    reducers: dict[type, Reducer] = {
        **tensor_reducers(),
        np.ndarray: reduce_array,
        np.memmap: lambda mapped: reduce_array(mapped.view(np.ndarray)),
    }
    stream = io.BytesIO()
    if by_value:
        ByValuePickler(stream, reducers, keep).dump(value)
    else:
        pickler = pickle.Pickler(stream, 5, buffer_callback=keep)
        pickler.dispatch_table = {**copyreg.dispatch_table, **reducers}
        pickler.dump(value)
    return Pickled(stream.getvalue(), arrays)


def spelled(dtype: np.dtype[Any]) -> str | np.dtype[Any]:
    """Return ``dtype`` in the cheapest form that says all of it."""
    if dtype.metadata is not None:  # which equality, and so the table, does not look at
        return dtype
    form = _spellings.get(dtype)
    if form is None:
        form = dtype.str if dtype.names is None and np.dtype(dtype.str) == dtype else dtype
        _spellings[dtype] = form
    return form


def tensor_reducers() -> dict[type, Reducer]:
    """Return how the tensors of the frameworks that are imported become arrays and tensors again."""
    for framework in _WITH_TENSORS:
        if framework not in _reducers_of and framework in sys.modules:
            _reducers_of.add(framework)
            _reducers.update(integration(framework, "travel").reducers())
    return _reducers


@contextmanager
def classes_by_value(*owners: Any) -> Iterator[None]:
    """Let classes and functions travel whole where a clean interpreter could not import their module."""
    names = {name for owner in owners if isinstance(name := getattr(owner, "__module__", None), str)}
    names -= cloudpickle.list_registry_pickle_by_value()
    modules = [sys.modules[name] for name in names if name in sys.modules and not importable(name)]
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)


def importable(name: str) -> bool:
    """Return whether an interpreter with this ``sys.path`` finds the top package of ``name``."""
    root = name.partition(".")[0]
    if root == "__main__":
        return True  # it does not, but cloudpickle knows
    return any(_finds(finder, root) for finder in sys.meta_path)


def _finds(finder: Any, root: str) -> bool:
    find_spec = getattr(finder, "find_spec", None)
    return find_spec is not None and find_spec(root, None) is not None
