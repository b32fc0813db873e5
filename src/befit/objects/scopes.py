"""``CustomObjectScope``: a block inside which custom objects are known by their names."""

from __future__ import annotations

import functools
import inspect
import pickle
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from befit._internal.carried import carry
from befit.errors import ArgumentError, SerializationError, UnsupportedObjectError
from befit.objects import bridges
from befit.objects.layers import Changes, Layer, close_layer, merged, open_layers, push
from befit.typing import CustomObjects

__all__ = ["CustomObjectScope", "ScopeInitializer", "custom_object_scope", "in_scope", "scope_initializer"]

P = ParamSpec("P")
R = TypeVar("R")


class CustomObjectScope:
    """A ``with`` block inside which Keras, PyTorch and befit find custom objects by their names.

    Inside the block ``Dense(kernel_regularizer='MyObject')``, ``compile(loss='my_loss')``, ``load_model``,
    ``clone_model`` and ``torch.load(weights_only=True)`` know the names. At its end, also after an exception,
    everything is as it was, whatever the block changed through ``get_custom_objects()``.

    Blocks can be nested: the inner one sees the names of the outer one and may give them another meaning. The
    same instance can be entered again, also inside itself. Threads and asyncio tasks have blocks of their
    own; a task sees those of the code that started it, a thread does if its function went through
    ``in_scope``. As a decorator it wraps a block around each call of a function or of a coroutine function.

    Args:
        *custom_objects: Any number of dictionaries from name to object; on equal names the last one counts.
            They are read when the block begins. A dotted name such as ``'oldpackage.Net'`` also lets
            ``torch.load`` take the class for one that moved.

    Raises:
        UnsupportedObjectError: An argument is no dictionary, or a name is no string.

    Example:
        >>> import keras
        >>> class MyObject(keras.regularizers.Regularizer):
        ...     def __call__(self, weights):
        ...         return 0.01 * keras.ops.sum(weights**2)
        >>> with CustomObjectScope({"MyObject": MyObject}):
        ...     layer = keras.layers.Dense(3, kernel_regularizer="MyObject")
        >>> type(layer.kernel_regularizer).__name__
        'MyObject'

    Source:
        Keras 2.1 documentation, ``keras.utils.CustomObjectScope``.
    """

    def __init__(self, *custom_objects: CustomObjects | None) -> None:
        for names in custom_objects:
            _check_names(names)
        self.custom_objects = custom_objects
        self._layers: list[Layer] = []  # of this instance's open blocks, in the order of their begin

    def __enter__(self) -> Self:
        names, hides_below = self._changes()
        layer = Layer(self, names, hides_below)
        self._layers.append(layer)
        push(layer)
        try:
            bridges.reach(layer)
        except BaseException:
            self._close(layer)
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # The innermost block of this instance here; else the block was begun in another thread or task.
        here = [layer for layer in open_layers() if layer.owner is self]
        layers = here or self._layers
        if not layers:
            raise ArgumentError(
                "this CustomObjectScope is not open, so it cannot be left; use it in a with statement"
            )
        self._close(layers[-1])

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Return ``function`` with this scope around each call."""
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise UnsupportedObjectError(
                f"{function.__qualname__} is a generator: its code runs after the call has returned; "
                "write the with block inside of it"
            )
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def call_async(*args: P.args, **kwargs: P.kwargs) -> Any:
                with self:
                    return await function(*args, **kwargs)

            return call_async  # type: ignore[return-value]

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            with self:
                return function(*args, **kwargs)

        return call

    def _changes(self) -> Changes:
        changes: dict[str, Any] = {}
        for names in self.custom_objects:
            changes.update(names or {})
        return Changes(changes, hides_below=False)

    def _close(self, layer: Layer) -> None:
        self._layers.remove(layer)
        close_layer(layer)
        bridges.release(layer)


custom_object_scope = CustomObjectScope
"""The name that Keras 2 also had for :class:`CustomObjectScope`."""


class _ScopeAgain(CustomObjectScope):
    """Opens blocks that say what the blocks around another place in the program said."""

    def __init__(self, changes: Changes) -> None:
        super().__init__()
        self._remembered = changes

    @property
    def contents(self) -> Iterable[object]:
        """The objects that have names in it."""
        return self._remembered.changes.values()

    def _changes(self) -> Changes:
        return Changes(dict(self._remembered.changes), self._remembered.hides_below)


@carry
def _open_scopes() -> _ScopeAgain | None:
    """Return the open scopes for the workers of a ``Loader``."""
    layers = open_layers()
    return _ScopeAgain(merged(layers)) if layers else None


def in_scope(function: Callable[P, R]) -> Callable[P, R]:
    """Return ``function`` so that it runs under the scopes that are open now, in any thread.

    Args:
        function: A function or a coroutine function.

    Returns: A function with the same arguments. The names are those of this moment; each call opens and ends
        its own block.

    Example:
        >>> from concurrent.futures import ThreadPoolExecutor
        >>> from befit import get_custom_objects
        >>> with CustomObjectScope({"half": 0.5}), ThreadPoolExecutor(1) as pool:
        ...     pool.submit(in_scope(lambda: get_custom_objects()["half"])).result()
        0.5
    """
    return _ScopeAgain(merged(open_layers()))(function)


class ScopeInitializer:
    """What ``scope_initializer`` returns: call it in a worker, with any arguments."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes

    def __call__(self, *_: Any) -> None:
        """Open the scopes and leave them open."""
        _ScopeAgain(self._changes).__enter__()

    def __getstate__(self) -> dict[str, Any]:
        for name, obj in self._changes.changes.items():
            try:
                pickle.dumps(obj)
            except Exception as error:
                raise SerializationError(
                    f"the custom object {name!r} cannot travel to a worker process ({error}); "
                    "define it with def or class at the top level of a module"
                ) from error
        return self.__dict__


def scope_initializer() -> ScopeInitializer:
    """Return a picklable callable that opens the present scopes in a worker, for as long as it lives.

    Hand it to ``torch.utils.data.DataLoader(worker_init_fn=…)`` or to
    ``multiprocessing.Pool(initializer=…)``: a worker that is started by *spawn* or *forkserver* knows nothing
    of the scopes around it. For a thread that ends before the process does, use ``in_scope``, which ends its
    blocks.

    Raises:
        SerializationError: On pickling, if an object cannot be pickled; names it.

    Example:
        >>> import pickle
        >>> with CustomObjectScope({"half": 0.5}):
        ...     initializer = scope_initializer()
        >>> type(pickle.loads(pickle.dumps(initializer))).__name__
        'ScopeInitializer'
    """
    return ScopeInitializer(merged(open_layers()))


def _check_names(names: object) -> None:
    if names is None:
        return
    if not isinstance(names, Mapping):
        raise UnsupportedObjectError(
            f"CustomObjectScope takes dictionaries, not {names!r}; "
            "write CustomObjectScope({'MyObject': MyObject})"
        )
    for name in names:
        if not isinstance(name, str):
            raise UnsupportedObjectError(
                f"a custom object's name is a string, not {name!r}; write {{'MyObject': MyObject}}"
            )
