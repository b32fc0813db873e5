"""Which framework's arrays came in, and how its result is to be handed back."""

from __future__ import annotations

import numpy as np

from befit._internal import adapters
from befit.errors import ArgumentError, UnsupportedObjectError
from befit.typing import Array, ArrayAdapter

_FRAMEWORKS = frozenset({"torch", "jax", "tensorflow"})
_NUMPY_KINDS = frozenset("biufc")


def adapter_of(obj: object) -> ArrayAdapter | None:
    """Return the adapter of the framework that the tensor ``obj`` belongs to; ``None``: NumPy takes it."""
    if type(obj) is np.ndarray:  # most often, and the walk through the classes costs more than a small result
        return None
    framework = adapters.framework_of(obj)
    if framework not in _FRAMEWORKS:
        return None
    adapter: ArrayAdapter = adapters.integration(framework, "arrays")
    return adapter if adapter.is_tensor(obj) else None  # torch.Size, jax's dtypes … are no tensors


def as_array(obj: object, name: str) -> Array:
    """Return ``obj`` (a list, anything with ``__array__``) as an array of one or more values, masks kept."""
    if type(obj) is np.ndarray and obj.dtype.kind != "O":
        return obj
    try:
        array = np.asanyarray(obj)
    except ValueError as error:
        raise ArgumentError(f"{name} cannot become one array: {error}") from error
    if array.dtype.kind == "O" and array.ndim == 0:
        raise UnsupportedObjectError(
            f"{name} is a {type(obj).__name__}, not an array; pass an array or a list: list({name}) of a "
            f"generator, {name}.toarray() of a sparse matrix"
        )
    return array if isinstance(array, np.ma.MaskedArray) else np.asarray(array)


def numpy_dtype(dtype: object) -> np.dtype[np.generic] | None:
    """Return ``dtype`` as one of NumPy's own number types; ``None`` where it is a framework's (bfloat16)."""
    try:
        found = np.dtype(dtype)  # type: ignore[call-overload]
    except TypeError:  # torch.float32 and tf.float32 are no NumPy dtypes
        try:
            found = np.dtype(dtype_name(dtype))
        except TypeError:
            return None
    return found if found.kind in _NUMPY_KINDS else None


def dtype_name(dtype: object) -> str:
    """Return the name that all share: ``"float32"`` for ``torch.float32``, ``tf.float32`` and ``"f4"``."""
    try:
        return np.dtype(dtype).name  # type: ignore[call-overload, no-any-return]
    except TypeError:  # torch.float32 and tf.float32 are no NumPy dtypes
        return str(getattr(dtype, "name", dtype)).removeprefix("torch.")


def output_view(out: object, shape: tuple[int, ...]) -> Array:
    """Return the NumPy array that lies in the memory of ``out``.

    Raises:
        ArgumentError: ``out`` has another shape, or its memory cannot be written from here.
    """
    adapter = adapter_of(out)
    view = adapter.writable_view(out) if adapter is not None else out
    if not isinstance(view, np.ndarray) or isinstance(view, np.ma.MaskedArray) or not view.flags.writeable:
        raise ArgumentError(
            f"out is a {type(out).__name__} that cannot be written in place; "
            "pass a writable NumPy array or a CPU tensor of PyTorch, or leave out out="
        )
    if view.shape != shape:
        raise ArgumentError(f"out has shape {view.shape}, the result has shape {shape}")
    return view


def refuse_output_off_host(adapter: ArrayAdapter | None, tensor: object, name: str) -> None:
    """Raise where writing to ``out`` would cut a gradient or leave the device unnoticed."""
    if adapter is not None and not adapter.on_host(tensor):
        raise ArgumentError(
            f"out= is for values in main memory and carries no gradient; "
            f"leave out out=, or detach {name} and bring it to the CPU first"
        )
