"""``normalize``: arrays to unit norm along an axis."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from befit.arrays.compiled import run
from befit.arrays.frameworks import adapter_of, as_array, output_view, refuse_output_off_host
from befit.arrays.norms import divide_by_norm, result_dtype
from befit.errors import ArgumentError, UnsupportedObjectError
from befit.typing import Array

_WORTH_COMPILING = 32 << 20  # bytes; a smaller result is there before the compiled loop is loaded


def normalize(x: Any, axis: int | tuple[int, ...] | None = -1, order: Any = 2, *, out: Any = None) -> Any:
    """Divide by the norm along an axis, so that every vector along it has norm 1.

    A NumPy array, a list or anything with ``__array__`` gives a NumPy array; a tensor of PyTorch, JAX or
    TensorFlow gives a tensor of the same framework on the same device, and gradients flow. Vectors of zeros
    stay zeros. Values whose squares overflow or underflow are scaled first: ``1e30`` and ``1e-30`` come out
    right in float32. Floating-point and complex data types stay, every other becomes float64 (with JAX its
    default float, on Apple's MPS float32); float16 is computed in float32. Shape ``(features,)`` gives
    ``(1, features)``.

    Args:
        x: Numbers of any shape but a single one.
        axis: Axis of the vectors; several axes, or ``None`` for all, are normalised as a whole.
        order: Order of the norm, as in ``numpy.linalg.norm`` for vectors: any number, ``inf`` or ``-inf``.
        out: Written and returned instead of new memory: a NumPy array or a CPU tensor of PyTorch of the
            result's shape. May be ``x``.

    Returns:
        A normalised copy of ``x``.

    Raises:
        ArgumentError: ``axis``, ``order`` or ``out`` cannot work for ``x``.
        UnsupportedObjectError: ``x`` holds no numbers, or masked ones, or is sparse.

    Example:
        >>> import numpy as np
        >>> normalize(np.array([[3.0, 4.0], [0.0, 0.0]]))
        array([[0.6, 0.8],
               [0. , 0. ]])
        >>> normalize([1, 2, 5], order=1)
        array([[0.125, 0.25 , 0.625]])

    Source:
        Keras 2.1 documentation.
    """
    adapter = adapter_of(x)
    if adapter is None:
        x = _numbers(as_array(x, "x"))
    axes = _checked_axes(axis, len(x.shape))
    single_axis = axis is not None and not isinstance(axis, tuple)
    power = _checked_order(order, single_axis=single_axis)
    gains_axis = single_axis and len(x.shape) == 1
    if out is not None:
        refuse_output_off_host(adapter, x, "x")
    elif adapter is not None and not adapter.on_host(x):
        result = adapter.normalize(x, axes, power)
        return result[None] if gains_axis else result

    array = x if adapter is None else _numbers(adapter.to_host(x))
    shape = (1, *array.shape) if gains_axis else array.shape
    if out is not None:
        view = output_view(out, shape)
        if not np.can_cast(result_dtype(array), view.dtype, "same_kind"):
            raise ArgumentError(f"out has dtype {view.dtype}, the result has dtype {result_dtype(array)}")
        if np.may_share_memory(array, view) and array.__array_interface__ != view.__array_interface__:
            array = array.copy()  # the same memory is read before it is written, shifted memory is not
        _divide(array, axes, power, view.reshape(array.shape))
        return out
    result = np.empty(array.shape, result_dtype(array))
    _divide(array, axes, power, result)
    result = result.reshape(shape)
    return adapter.from_host(result, x) if adapter is not None else result


def _numbers(x: Array) -> Array:
    if np.ma.is_masked(x):
        raise UnsupportedObjectError("x has masked values, which have no norm; write x.filled(0)")
    if x.dtype.kind not in "biufc" and x.dtype.name != "bfloat16":
        raise UnsupportedObjectError(f"x has dtype {x.dtype}, not numbers; write np.asarray(x, 'float64')")
    return np.asarray(x)


def _checked_axes(axis: Any, ndim: int) -> tuple[int, ...]:
    if ndim == 0:
        raise ArgumentError("x is a single number, which has no axis; write normalize([x])")
    if axis is None:
        return tuple(range(ndim))
    axes = axis if isinstance(axis, tuple) else (axis,)
    found: set[int] = set()
    for one in axes:
        try:
            number = operator.index(one)
        except TypeError:
            raise ArgumentError(f"axis is {axis!r}; write a whole number, a tuple of them or None") from None
        if not -ndim <= number < ndim:
            raise ArgumentError(f"axis {number} is outside [{-ndim}, {ndim}) for x of {ndim} axes")
        found.add(number % ndim)
    if len(found) != len(axes) or not axes:
        raise ArgumentError(f"axis is {axis!r}; write one or more axes, each of them once")
    return tuple(sorted(found))


def _checked_order(order: Any, *, single_axis: bool) -> float:
    if order is None or (order == "fro" and not single_axis):
        return 2.0
    try:
        number = float(order)
    except (TypeError, ValueError):
        number = math.nan
    except OverflowError:  # an integer, whose thousands of digits nobody wants to read
        raise ArgumentError("order is beyond every float; write float('inf') or float('-inf')") from None
    if isinstance(order, str) or math.isnan(number):
        raise ArgumentError(f"order is {order!r}; write a number such as 2, or float('inf')")
    return number


def _divide(x: Array, axes: tuple[int, ...], order: float, out: Array) -> None:
    if axes == (x.ndim - 1,) and x.flags.c_contiguous and out.flags.c_contiguous and x.size:
        x, out, axes = x.reshape(-1, x.shape[-1]), out.reshape(-1, x.shape[-1]), (1,)
        is_large = x.nbytes >= _WORTH_COMPILING
        has_loop = order == 2 and x.dtype == out.dtype and x.dtype.char in "fd"
        if is_large and has_loop and run("divide_by_length", x, out):
            return
    divide_by_norm(x, axes, order, out)
