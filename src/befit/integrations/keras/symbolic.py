"""Calls subclassed Keras models on symbolic inputs, and leaves them as they were."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras
from keras.src.backend.common import global_state  # no public name gives the counters behind automatic names

from befit.errors import GraphError


def is_built(model: Any) -> bool:
    """Return whether the weights of ``model`` exist.

    ``model.built`` alone does not tell: ``build(shape)`` sets it although only a call builds the layers of a
    subclassed model.
    """
    if isinstance(model, keras.Sequential) and not model.layers:
        return True
    return bool(model.built) and (all(layer.built for layer in model.layers) or bool(model.weights))


def build(model: Any, inputs: Any) -> None:
    """Build ``model`` for ``inputs``, or for the input that a Sequential knows; else leave it unbuilt.

    Raises:
        GraphError: the model's code fails on inputs like these.
    """
    if inputs is None:
        if isinstance(model, keras.Sequential):
            _build_from_first_layer(model)
        return
    args, kwargs = _call_arguments(model, inputs)
    calls = model._inbound_nodes[:]
    try:
        model(*args, **kwargs)
    except Exception as error:
        raise _failure(model, error) from error
    finally:
        model._inbound_nodes[:] = calls  # ours is not one of the user's


def known_tensors(model: Any) -> tuple[list[Any], list[Any]] | None:
    """Return the symbolic inputs and outputs that ``model`` has itself; ``None`` if it has none."""
    found = []
    for name in ("inputs", "outputs"):  # a subclassed model may have anything of that name, or nothing
        tensors = getattr(model, name, None)
        if not isinstance(tensors, list) or not all(isinstance(t, keras.KerasTensor) for t in tensors):
            return None
        found.append(tensors)
    return found[0], found[1]


@contextmanager
def called(model: Any, inputs: Any) -> Iterator[tuple[list[Any], list[Any]]]:
    """Yield the symbolic tensors that enter and leave one call of ``model``; afterwards the call never was.

    Raises:
        GraphError: nothing tells the input, or the model's code cannot work on symbolic tensors.
    """
    if inputs is None:
        inputs = _recorded_input(model)
    with _left_as_found(model):
        args, kwargs = _call_arguments(model, inputs)
        try:
            with keras.StatelessScope():  # nothing the code assigns reaches a variable
                outputs = _call(model, *args, **kwargs)
        except Exception as error:
            raise _failure(model, error) from error
        exits = [tensor for tensor in keras.tree.flatten(outputs) if isinstance(tensor, keras.KerasTensor)]
        if not exits:
            raise GraphError(f"{model.name!r} returns nothing symbolic from a call on symbolic inputs")
        yield keras.tree.flatten((args, kwargs)), exits


def _call(model: Any, *args: Any, **kwargs: Any) -> Any:
    if not isinstance(model, keras.Sequential):
        return model.call(*args, **kwargs)
    (tensor,) = args
    for layer in model.layers:  # without the conversion of inputs that its own call puts in front
        tensor = layer(tensor)
    return tensor


def _failure(model: Any, error: Exception) -> GraphError:
    return GraphError(
        f"{model.name!r} cannot be called on symbolic inputs ({type(error).__name__}: {error}); "
        "call it once on real data and leave `inputs` out to list its layers without their connections"
    )


@contextmanager
def _left_as_found(model: Any) -> Iterator[None]:
    """Take back every node that a call adds to the model's layers, and the automatic names it uses up."""
    layers = model._flatten_layers()
    before = [(layer, layer._inbound_nodes[:], layer._outbound_nodes[:]) for layer in layers]
    names = dict(global_state.get_global_attribute("object_name_uids") or {})
    try:
        yield
    finally:
        for layer, inbound, outbound in before:
            layer._inbound_nodes[:] = inbound
            layer._outbound_nodes[:] = outbound
        counters = global_state.get_global_attribute("object_name_uids")
        if counters is not None:
            counters.clear()
            counters.update(names)


def _build_from_first_layer(model: Any) -> None:
    first = next(iter(model.layers), None)
    shape = getattr(first, "input_shape", None)  # a nested model knows it; plain layers do not
    if shape is not None and first is not None:
        model.build(shape)


def _recorded_input(model: Any) -> Any:
    """Return the shapes that ``model`` was built with."""
    config = model.get_build_config() or {}
    if "input_shape" in config:
        return config["input_shape"]
    if "shapes_dict" in config:
        return {name.removesuffix("_shape"): shape for name, shape in config["shapes_dict"].items()}
    raise GraphError(f"{model.name!r} has not been called yet, so its input is unknown; give `inputs`")


def _call_arguments(model: Any, inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return symbolic arguments for ``model.call``.

    A tuple goes to several positional parameters and a dict to parameters of its names, where ``call`` has
    such; everything else is its first argument.
    """
    parameters = dict(inspect.signature(model.call).parameters)
    required = [
        name for name, p in parameters.items() if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD
    ]
    extra = {"training": False} if "training" in required[1:] else {}
    required = [name for name in required if name not in extra]
    if _is_shape(inputs):
        pass
    elif isinstance(inputs, tuple) and len(inputs) > 1 and len(required) == len(inputs):
        return tuple(map(_symbolic, inputs, required)), extra
    elif isinstance(inputs, Mapping) and set(required) <= set(inputs) <= set(parameters):
        return (), {name: _symbolic(value, name) for name, value in inputs.items()} | extra
    return (_symbolic(inputs, next(iter(parameters), "input")),), extra


def _symbolic(value: Any, name: str) -> Any:
    """Return ``value`` with a symbolic tensor of any batch size for each array or shape in it."""
    if isinstance(value, Mapping):
        return {key: _symbolic(item, str(key)) for key, item in value.items()}
    if isinstance(value, (tuple, list)) and not _is_shape(value):
        items = [_symbolic(item, f"{name}_{number}") for number, item in enumerate(value)]
        return tuple(items) if isinstance(value, tuple) else items
    if not _is_shape(value) and not hasattr(value, "shape"):
        raise GraphError(f"`inputs` holds {value!r}, which is neither an array nor a shape such as (32, 10)")
    shape = tuple(getattr(value, "shape", value))
    dtype = getattr(value, "dtype", None)
    return keras.Input(
        batch_shape=(None, *shape[1:]) if shape else (),
        dtype=None if dtype is None else keras.backend.standardize_dtype(dtype),
        name=None if name is None else name.replace("/", "_"),  # Keras refuses a slash
    )


def _is_shape(value: Any) -> bool:
    return isinstance(value, (tuple, list)) and all(length is None or type(length) is int for length in value)
