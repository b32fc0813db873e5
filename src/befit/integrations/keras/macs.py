"""Multiply-adds of Keras calls: of matrix products, convolutions, attention and recurrent steps.

Nothing runs: the shapes that Keras knows are enough. They leave the batch axis open, and a count is for one
sample, so its length is 1 at first and is followed from call to call: ``ops.reshape(x, (-1, 8))`` changes it.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import keras

from befit.integrations.keras.mac_formulas import FORMULAS, Given, Unknown

# Keras' own code in these does no more than what counts nothing, where there is no formula for it.
FREE = tuple(
    f"keras.src.{name}"
    for name in (
        *(f"layers.{part}" for part in ("activations", "core", "merging", "normalization", "pooling")),
        *("layers.preprocessing", "layers.regularization", "layers.reshaping", "activations", "quantizers"),
        *("ops.core", "ops.einops", "ops.image", "ops.linalg", "ops.math", "ops.nn", "ops.numpy"),
    )
)
RUNS_OTHER_CODE = frozenset(
    (
        *("Lambda", "Wrapper", "Map", "Scan", "AssociativeScan", "WhileLoop", "ForiLoop", "Switch", "Cond"),
        *("VectorizedMap", "JVP", "MelSpectrogram", "STFTSpectrogram", "Pipeline", "STFT", "ISTFT"),
        *("GaussianBlur", "SSIM", "SobelEdges", "Correlate", "CDist"),
    )
)
# What a subclass may define and still do what its base class does.
HARMLESS = frozenset(("__init__", "build", "get_config", "from_config", "compute_output_shape"))

# Operations that put all elements into another order or shape, and those that may change how many there are
# along the first axis.
ARRANGING = frozenset(
    ("Reshape", "Transpose", "Swapaxes", "Moveaxis", "Squeeze", "ExpandDims", "Ravel", "Rearrange")
)
RESIZING = frozenset(
    (
        *("Append", "Arange", "ArraySplit", "BroadcastTo", "Concatenate", "Diff", "Dstack", "Hstack", "Kron"),
        *("Nonzero", "Outer", "Pad", "Repeat", "Rot90", "SegmentMax", "SegmentMin", "SegmentProd", "Unique"),
        *("SegmentReduction", "SegmentSum", "Slice", "Split", "Stack", "Take", "Tile", "Unstack", "Vander"),
        *("Vsplit", "Vstack", "Where", "ExtractSequences", "Fold", "Unfold", "Function", "Meshgrid"),
    )
)

SPECIAL = ARRANGING | RESIZING | {"GetItem", "Einsum", "Tensordot", "Dot"}

ModelMacs = Callable[[Any, list[Any]], int | None]


class Counter:
    """Counts the calls of one graph, given in an order in which they could run.

    Args:
        of_model: returns the multiply-adds of a nested model for inputs of these sizes.
    """

    def __init__(self, of_model: ModelMacs) -> None:
        self._of_model = of_model
        self._batch: dict[int, int | None] = {}  # by tensor whose first axis is open; None: not known

    def count(self, call: Any) -> int | None:
        """Return the multiply-adds of one call; ``None`` if they are not known."""
        for tensor in call.outputs:
            if tensor.shape and tensor.shape[0] is None:
                self._batch[id(tensor)] = self._batch_after(call, tensor)
        if isinstance(call.operation, keras.Model):
            return self._of_model(call.operation, [self._sizes(tensor) for tensor in call.input_tensors])
        kind: Any = type(call.operation)
        formula = _formula(kind)
        if formula is None or formula is _nothing:
            return None if formula is None else 0
        try:
            given = Given(
                call.arguments.args, call.arguments.kwargs, call.outputs, self._sizes, self._layer_macs
            )
            return formula(call.operation, given)
        except (Unknown, AttributeError):  # an attribute that only a built layer has
            return None

    def _sizes(self, tensor: Any) -> Any:
        """Return the axis lengths of a tensor or variable, anything else as it is."""
        shape = getattr(tensor, "shape", None)
        if shape is None:
            return tensor
        if shape and shape[0] is None:
            return (self._batch.get(id(tensor)), *shape[1:])
        return tuple(shape)

    def _layer_macs(self, layer: Any, given: Given) -> int:
        """Return the multiply-adds of a layer inside another one."""
        if isinstance(layer, keras.Model):
            macs = self._of_model(layer, [given.first])
        else:
            kind: Any = type(layer)
            formula = _formula(kind)
            macs = None if formula is None else formula(layer, given)
        if macs is None:
            raise Unknown
        return macs

    def _batch_after(self, call: Any, out: Any) -> int | None:
        """Return the length of the first axis of ``out``, which is open."""
        kind: Any = type(call.operation)
        name = kind.__name__ if _is_kerass(kind) else ""  # a layer of the user's keeps the batch axis
        if not call.input_tensors:
            return 1
        if len(call.input_tensors) == 1 and name not in SPECIAL:
            return self._batch.get(id(call.input_tensors[0]))
        if name == "GetItem":
            return self._batch_of_item(call)
        if name == "Einsum":
            return self._batch_of_einsum(call)
        if name in ("Tensordot", "Dot") and not isinstance(call.operation, keras.layers.Layer):
            return self._batch.get(id(call.input_tensors[0]))
        if name in ARRANGING:
            (tensor, *_) = call.input_tensors
            batch = self._batch.get(id(tensor))
            if batch is None or None in tensor.shape[1:] or None in out.shape[1:]:
                return batch if isinstance(call.operation, keras.layers.Layer) else None
            return int(batch * math.prod(tensor.shape[1:]) // (math.prod(out.shape[1:]) or 1))
        if name in RESIZING:
            axis = getattr(call.operation, "axis", None)
            if not isinstance(axis, int) or axis % len(out.shape) == 0:
                return None
        batches = {self._batch.get(id(t)) for t in call.input_tensors if t.shape and t.shape[0] is None}
        return batches.pop() if len(batches) == 1 else None

    def _batch_of_item(self, call: Any) -> int | None:
        key = call.arguments.args[1]
        first = key[0] if isinstance(key, tuple) and key else key
        if first is Ellipsis or first == slice(None):
            return self._batch.get(id(call.input_tensors[0]))
        return None

    def _batch_of_einsum(self, call: Any) -> int | None:
        terms, _, result = call.operation.subscripts.replace(" ", "").partition("->")
        for term, tensor in zip(terms.split(","), call.input_tensors, strict=False):
            if result and term[:1] == result[0]:
                return self._batch.get(id(tensor))
        return None


def _nothing(layer: Any, given: Given) -> int:
    return 0


@functools.cache
def _formula(kind: type) -> Callable[[Any, Given], int] | None:
    """Return the formula for calls of ``kind``, which may be a subclass that changes nothing of the call."""
    own = list(itertools.takewhile(lambda base: not _is_kerass(base), kind.__mro__))
    if any(callable(value) for base in own for name, value in vars(base).items() if name not in HARMLESS):
        return None
    for base in kind.__mro__[len(own) :]:
        if base.__name__ in FORMULAS:
            return FORMULAS[base.__name__]
        if base.__name__ in RUNS_OTHER_CODE:
            return None
    owner = next(base for base in kind.__mro__ if "call" in vars(base))
    return _nothing if owner.__module__.startswith(FREE) else None


@functools.cache
def _is_kerass(kind: type) -> bool:
    return kind.__module__.startswith("keras.src.")
