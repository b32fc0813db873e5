"""``fit_generator`` becomes ``fit``, and the others of its kind ``evaluate`` and ``predict``."""

from __future__ import annotations

from befit.legacy.names import LOADING
from befit.migrate.calls import Build, NewArgument, NewCall, original, rounded_up
from befit.migrate.kinds import READ_ONCE, Kind
from befit.migrate.method_call import CannotRewriteError, MethodCall

_STEPS = {"fit_generator": "steps_per_epoch", "evaluate_generator": "steps", "predict_generator": "steps"}


def generator_call(call: MethodCall) -> NewCall:
    """Return what becomes of the call.

    Raises:
        CannotRewriteError: it cannot be known, or would need guessing.
    """
    row = call.row
    if call.has_stars:
        raise CannotRewriteError(f"{row.name} is called with * or **", f"write {row.write}")
    if call.value("x") is None:
        raise CannotRewriteError(f"{row.name} is called without a generator", f"write {row.write}")
    kind = call.kind("x")
    steps = _STEPS[row.name]
    if kind in (Kind.ARRAY, Kind.HDF5):
        raise CannotRewriteError(
            f"{row.name} is given {kind.value}, which Keras 2 refused", f"write {row.today}(...)"
        )
    if kind in READ_ONCE and call.value(steps) is None:
        raise CannotRewriteError(
            f"{row.name} is given {kind.value}, which has no length, and no {steps}, which Keras 2 refused",
            f"write {row.today}(befit.loading.Stream(...), {steps}=...)",
        )
    builds = {"x": call.loading.around(kind, call.original("x"), _shuffle(call))}
    if steps in call.counts_samples:
        builds[steps] = _batches(call, steps, "x")
    validation = _validation(call)
    if validation is not None:
        builds["validation_data"] = validation
    if "validation_steps" in call.counts_samples:
        builds["validation_steps"] = _batches(call, "validation_steps", "validation_data")
    arguments = []
    for name, index in sorted(call.indices.items(), key=lambda item: item[1]):
        if name not in LOADING and name != "shuffle":
            keyword = None if name == "x" and index == 0 else name
            arguments.append(NewArgument(index, keyword, builds.get(name, original(index))))
    return NewCall(row.today, tuple(arguments))


def _shuffle(call: MethodCall) -> str | None:
    if call.row.name != "fit_generator":
        return None
    return (call.text("shuffle") or "False") if "shuffle" in call.indices else "True"


def _validation(call: MethodCall) -> Build | None:
    """Return what becomes of ``validation_data``; ``None``: it stays."""
    value = call.value("validation_data")
    if value is None:
        return None
    kind = call.kind("validation_data")
    has_steps = call.value("validation_steps") is not None
    if kind in READ_ONCE and not has_steps:
        raise CannotRewriteError(
            f"validation_data is {kind.value}, which has no length, and there are no validation_steps, "
            "which Keras 2 refused",
            "write validation_data=befit.loading.Stream(...), validation_steps=...",
        )
    is_source = kind in READ_ONCE or (kind is Kind.SEQUENCE and not call.loading.is_default)
    # What is not known, but has steps, is no tuple of arrays.
    if is_source or (kind is Kind.UNKNOWN and has_steps):
        return call.loading.around(kind, call.original("validation_data"))
    return None


def _batches(call: MethodCall, steps: str, data: str) -> Build:
    """Return the number of batches, where Keras 1 was given a number of samples."""
    index = call.indices[steps]
    source = call.value(data)
    rows = None if source is None else call.kinds.batch_rows(source)
    if rows is None:
        raise CannotRewriteError(
            f"{call.keywords[index]} counts samples, and the size of a batch cannot be seen here",
            f"write {steps}=, in batches",
        )
    size = rows
    return rounded_up(original(index), lambda arguments: size)
