"""``fit``, ``evaluate`` and ``predict`` with arguments or data that Keras 3 does not take."""

from __future__ import annotations

import libcst as cst

from befit.legacy.names import LOADING
from befit.migrate.calls import Build, NewArgument, NewCall, code, original
from befit.migrate.calls import call as call_of
from befit.migrate.kinds import Kind
from befit.migrate.method_call import CannotRewriteError, MethodCall


def plain_call(call: MethodCall) -> NewCall | None:
    """Return what becomes of the call; ``None``: it stays.

    Raises:
        CannotRewriteError: it cannot be known, or would need guessing.
    """
    row = call.row
    if call.has_stars:
        if call.is_spelled_old:
            raise CannotRewriteError(
                f"{row.name} is called with * or **, and old arguments", f"write {row.write}"
            )
        return None
    builds: dict[str, Build] = {}
    dropped = {name for name in call.indices if name in LOADING}
    for name in ("x", "y"):
        dataset = (
            None if call.value(name) is None else call.kinds.h5py_dataset(call.values[call.indices[name]])
        )
        if dataset is not None:
            builds[name] = _hdf5_matrix(call, dataset)
    kind = Kind.HDF5 if "x" in builds else call.kind("x")
    if _is_batch_shuffled(call) and kind is not Kind.HDF5:
        builds["x"] = _shuffled_batches(call, kind)
        dropped |= {"y", "batch_size", "shuffle"}
    elif _has_to_be_loaded(call, kind):
        shuffle = call.text("shuffle") if "shuffle" in call.indices else "True"
        builds["x"] = call.loading.around(kind, call.original("x"), shuffle if row.name == "fit" else None)
        dropped.add("shuffle")
    validation = call.kind("validation_data")
    if validation is Kind.ITERATOR or (validation is Kind.SEQUENCE and not call.loading.is_default):
        builds["validation_data"] = call.loading.around(validation, call.original("validation_data"))
    arguments = []
    positions = {index: name for name, index in call.indices.items()}
    is_by_position = True
    for index in sorted(positions):
        name = positions[index]
        if name in dropped:
            is_by_position = False
            continue
        keyword = None if is_by_position and call.keywords[index] is None else name
        arguments.append(NewArgument(index, keyword, builds.get(name, original(index))))
    if not builds and [argument.keyword for argument in arguments] == call.keywords:
        return None
    return NewCall(None, tuple(arguments))


def _has_to_be_loaded(call: MethodCall, kind: Kind) -> bool:
    """Return whether the data needs a ``Loader`` or a ``Stream``."""
    if call.value("x") is None or kind in (Kind.ARRAY, Kind.HDF5, Kind.LOADED):
        return False
    if kind is Kind.ITERATOR:
        return True
    if kind is Kind.GENERATOR:
        return call.value("class_weight") is not None or any(name in LOADING for name in call.indices)
    if call.value("y") is not None or not any(name in LOADING for name in call.indices):
        return False
    if kind is Kind.UNKNOWN and call.row.name == "predict":
        raise CannotRewriteError(
            f"{call.row.name} is told how to load, and what it is given is not known",
            f"write {call.row.write} for a Sequence; arrays need no such arguments",
        )
    return True


def _is_batch_shuffled(call: MethodCall) -> bool:
    shuffle = call.value("shuffle")
    return (
        call.row.name == "fit"
        and isinstance(shuffle, cst.SimpleString)
        and shuffle.evaluated_value == "batch"
    )


def _shuffled_batches(call: MethodCall, kind: Kind) -> Build:
    others = [
        name
        for name in ("validation_split", "sample_weight", "class_weight", "steps_per_epoch")
        if call.value(name) is not None
    ]
    x = call.value("x")
    if x is None or isinstance(x, (cst.List, cst.Dict)) or kind not in (Kind.ARRAY, Kind.UNKNOWN):
        others.append(f"x, which is {kind.value}")
    if others:
        raise CannotRewriteError(
            f"shuffle='batch' does not shuffle the batches in Keras 3 (and there is {', '.join(others)})",
            "write fit(befit.loading.as_batches(befit.Sequence.from_arrays(x, y), shuffle=True))",
        )
    data = [call.original("x")]
    if call.value("y") is not None:
        data.append(call.original("y"))
    options = {"batch_size": call.original("batch_size")} if call.value("batch_size") is not None else {}
    sequence = call.names.name("befit.Sequence")
    batches = call_of(f"{sequence}.from_arrays", *data, **options)
    # Not a Loader, whose order no seed of the script would decide.
    return call_of(call.names.name("befit.loading.as_batches"), batches, shuffle=code("True"))


def _hdf5_matrix(call: MethodCall, dataset: tuple[cst.BaseExpression, cst.BaseExpression]) -> Build:
    path, name = dataset
    return call_of(call.names.name("befit.HDF5Matrix"), lambda _: path, lambda _: name)
