"""The training methods of Keras 2 models, by those of Keras 3.

``fit_generator``, ``evaluate_generator`` and ``predict_generator`` are functions of a model. ``fit``,
``evaluate`` and ``predict`` replace Keras' methods of these names while ``befit.keras2`` is installed: they
take what Keras 2 took, and hand everything else on as it is.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from befit.errors import ArgumentError, UnsupportedObjectError
from befit.legacy.batch_shuffle import shuffle_batches
from befit.legacy.names import LOADING, SAMPLES
from befit.legacy.training_data import Loading, TrainingData, kind_of, steps_for, takes_itself

__all__ = ["evaluate", "evaluate_generator", "fit", "fit_generator", "hints", "predict", "predict_generator"]


def _say_nothing(text: str) -> None:
    pass


hints: Callable[[str], None] = _say_nothing
"""Called with what to write today, where something old is used that is no argument of that name."""

_LOADING = tuple(dict.fromkeys(LOADING.values()))
_KERAS_1 = {"nb_epoch": "epochs", **{old: today for old, today in LOADING.items() if old not in _LOADING}}
_OF_KERAS_3 = {
    "fit": (
        *("x", "y", "batch_size", "epochs", "verbose", "callbacks", "validation_split", "validation_data"),
        *("shuffle", "class_weight", "sample_weight", "initial_epoch", "steps_per_epoch", "validation_steps"),
        *("validation_batch_size", "validation_freq", *_LOADING),  # the last three until Keras 2.15
    ),
    "evaluate": ("x", "y", "batch_size", "verbose", "sample_weight", "steps", "callbacks", "return_dict"),
    "predict": ("x", "batch_size", "verbose", "steps", "callbacks", *_LOADING),
}
_BY_KERAS_ITSELF = "_use_cached_eval_dataset"  # fit evaluates with data that it holds already


def fit_generator(
    model: Any,
    generator: Any,
    steps_per_epoch: int | None = None,
    epochs: int = 1,
    verbose: Any = 1,
    callbacks: Any = None,
    validation_data: Any = None,
    validation_steps: int | None = None,
    class_weight: Any = None,
    max_queue_size: int = 10,
    workers: int = 1,
    use_multiprocessing: bool = False,
    shuffle: bool = True,
    initial_epoch: int = 0,
    **old: Any,
) -> Any:
    """Train ``model`` with the batches of a generator or a ``Sequence``, and return Keras' ``History``.

    Args:
        model: A compiled Keras model.
        generator: A generator, or another iterator, of ``(x, y)`` or ``(x, y, sample_weight)``; or a
            ``Sequence`` of them.
        steps_per_epoch: Batches of an epoch; ``None``: those of the ``Sequence``.
        epochs: The epoch to end before, counted from 0.
        verbose: As for ``fit``.
        callbacks: As for ``fit``.
        validation_data: Arrays ``(x, y)`` or ``(x, y, sample_weight)``, or a generator or ``Sequence``.
        validation_steps: Batches of a validation; ``None``: those of the ``Sequence``.
        class_weight: Weights of the samples by their class, ``{class: weight}``.
        max_queue_size: Batches that are in work or ready ahead of the model.
        workers: Batches of a ``Sequence`` that are made at a time; 0: each when it is asked for, by the
            caller. A generator is read by one thread.
        use_multiprocessing: Make the batches of a ``Sequence`` in processes.
        shuffle: Take the batches of a ``Sequence`` in a random order, a new one in each epoch.
        initial_epoch: The epoch to begin with.
        old: ``validation_freq``; and names of Keras 1: ``samples_per_epoch``, ``nb_val_samples`` (samples,
            that are counted in batches as large as the first, rounded up), ``nb_epoch``, ``max_q_size``,
            ``nb_worker``, ``pickle_safe``.

    Raises:
        ArgumentError: A generator has no number of steps.
        UnsupportedObjectError: ``generator`` is an array, or a list of something.
        TypeError: ``old`` has another name, or both names of an argument.

    Example:
        >>> import keras, numpy as np
        >>> from befit.legacy.trainers import fit_generator
        >>> def batches():
        ...     while True:
        ...         yield np.ones((2, 3)), np.ones((2, 1))
        >>> model = keras.Sequential([keras.layers.Dense(1)])
        >>> model.compile(loss="mse")
        >>> len(fit_generator(model, batches(), 5, epochs=2, verbose=0).history["loss"])
        2

    Source: Keras 2.1, ``Model.fit_generator``.
    """
    given = {
        "steps_per_epoch": steps_per_epoch,
        "epochs": epochs,
        "validation_steps": validation_steps,
        "max_queue_size": max_queue_size,
        "workers": workers,
        "use_multiprocessing": use_multiprocessing,
    }
    further = {"validation_freq": old.pop("validation_freq")} if "validation_freq" in old else {}
    samples = _rename(fit_generator, given, old)
    loading = _loading(given)
    _refuse_arrays(generator, "fit")
    with TrainingData(hints) as data:
        x = data.batches(
            _counted(generator, given, samples, "steps_per_epoch"), loading, shuffle=bool(shuffle)
        )
        validation = data.batches(
            _counted(validation_data, given, samples, "validation_steps", "validation_data"), loading
        )
        for name, batches in (("steps_per_epoch", x), ("validation_steps", validation)):
            if name in samples and kind_of(batches) == "other":
                given[name] = steps_for(samples[name], batches)
        return model.fit(
            x,
            verbose=verbose,
            callbacks=callbacks,
            validation_data=validation,
            class_weight=class_weight,
            initial_epoch=initial_epoch,
            **given,
            **further,
        )


def evaluate_generator(
    model: Any,
    generator: Any,
    steps: int | None = None,
    max_queue_size: int = 10,
    workers: int = 1,
    use_multiprocessing: bool = False,
    **old: Any,
) -> Any:
    """Return the loss of ``model``, or a list of loss and metrics, over the batches of a generator.

    Args:
        model: A compiled Keras model.
        generator: As for ``fit_generator``.
        steps: Batches to use; ``None``: those of the ``Sequence``.
        max_queue_size: As for ``fit_generator``.
        workers: As for ``fit_generator``.
        use_multiprocessing: As for ``fit_generator``.
        old: ``callbacks``, ``verbose``; and names of Keras 1: ``val_samples``, ``max_q_size``, ``nb_worker``,
            ``pickle_safe``.

    Raises:
        ArgumentError: A generator has no number of steps.
        UnsupportedObjectError: ``generator`` is an array, or a list of something.
        TypeError: ``old`` has another name, or both names of an argument.

    Source: Keras 2.1, ``Model.evaluate_generator``.
    """
    further = {"verbose": old.pop("verbose", 0), "callbacks": old.pop("callbacks", None)}
    given = {
        "steps": steps,
        "max_queue_size": max_queue_size,
        "workers": workers,
        "use_multiprocessing": use_multiprocessing,
    }
    return _without_training(model.evaluate, evaluate_generator, generator, given, old, further)


def predict_generator(
    model: Any,
    generator: Any,
    steps: int | None = None,
    max_queue_size: int = 10,
    workers: int = 1,
    use_multiprocessing: bool = False,
    verbose: Any = 0,
    **old: Any,
) -> Any:
    """Return what ``model`` makes of the batches of a generator: an array of all rows, or a list of them.

    Args:
        model: A Keras model.
        generator: A generator or ``Sequence`` of x, where a list is several inputs, or of tuples ``(x,)``,
            ``(x, y)`` or ``(x, y, sample_weight)``, of which x is used.
        steps: Batches to use; ``None``: those of the ``Sequence``.
        max_queue_size: As for ``fit_generator``.
        workers: As for ``fit_generator``.
        use_multiprocessing: As for ``fit_generator``.
        verbose: As for ``predict``.
        old: ``callbacks``; and names of Keras 1: ``val_samples``, ``max_q_size``, ``nb_worker``,
            ``pickle_safe``.

    Returns:
        An array ``(samples, ...)``, in the order of the batches; for several outputs a list of them.

    Raises:
        ArgumentError: A generator has no number of steps.
        UnsupportedObjectError: ``generator`` is an array, or a list of something.
        TypeError: ``old`` has another name, or both names of an argument.

    Source: Keras 2.1, ``Model.predict_generator``.
    """
    further = {"verbose": verbose, "callbacks": old.pop("callbacks", None)}
    given = {
        "steps": steps,
        "max_queue_size": max_queue_size,
        "workers": workers,
        "use_multiprocessing": use_multiprocessing,
    }
    outputs = _without_training(model.predict, predict_generator, generator, given, old, further)
    return list(outputs) if isinstance(outputs, tuple) else outputs


def fit(model: Any, original: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Train ``model`` with what ``Model.fit`` took in Keras 2, or takes in Keras 3.

    Args:
        model: A Keras model.
        original: Keras 3's method, unbound.
        args: What the method was called with, but for the model.
        kwargs: The same, by keyword.

    Returns:
        What ``original`` returns.

    Raises:
        ArgumentError: A generator that befit has to read has no number of steps.
        TypeError: Both names of an argument were given.

    Source: Keras 2.1 and 2.15, ``Model.fit``.
    """
    return _replaced("fit", model, original, args, kwargs)


def evaluate(
    model: Any, original: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Any:
    """Evaluate ``model`` on what ``Model.evaluate`` took in Keras 2, or takes in Keras 3; see ``fit``."""
    return _replaced("evaluate", model, original, args, kwargs)


def predict(
    model: Any, original: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Any:
    """Use ``model`` on what ``Model.predict`` took in Keras 2, or takes in Keras 3; see ``fit``."""
    return _replaced("predict", model, original, args, kwargs)


def _without_training(
    method: Callable[..., Any],
    function: Callable[..., Any],
    generator: Any,
    given: dict[str, Any],
    old: dict[str, Any],
    further: dict[str, Any],
) -> Any:
    samples = _rename(function, given, old)
    loading = _loading(given)
    _refuse_arrays(generator, method.__name__)
    with TrainingData(hints) as data:
        x = data.batches(_counted(generator, given, samples, "steps"), loading)
        if samples:
            given["steps"] = steps_for(samples["steps"], x)
        return method(x, **given, **further)


def _replaced(
    name: str, model: Any, original: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Any:
    names = _OF_KERAS_3[name]
    is_callable_so = len(args) <= len(names) and kwargs.keys().isdisjoint(names[: len(args)])
    if not is_callable_so or _BY_KERAS_ITSELF in kwargs:
        return original(model, *args, **kwargs)
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    loading = _pop_old(name, given)
    with TrainingData(hints) as data:
        is_changed = _prepare(data, given, loading, "steps_per_epoch" if name == "fit" else "steps")
        if loading is None and not is_changed:
            return original(model, *args, **kwargs)
        return original(model, **given)


def _pop_old(name: str, given: dict[str, Any]) -> dict[str, Any] | None:
    """Give arguments their names of today, and take out how data are loaded; ``None``: nothing was old."""
    loading: dict[str, Any] = {}
    is_old = False
    for old, today in {"nb_epoch": "epochs", **LOADING}.items():
        if old not in given or (today == "epochs" and name != "fit"):
            continue
        is_old = True
        value = given.pop(old)
        if today in given or today in loading:
            raise _both(name, old, today)
        (loading if today in _LOADING else given)[today] = value
    return loading if is_old else None


def _prepare(
    data: TrainingData, given: dict[str, Any], old_loading: dict[str, Any] | None, steps: str
) -> bool:
    """Make the data among the arguments such as Keras 3 takes, and return whether any were others."""
    before = dict(given)
    for name in ("x", "y", "sample_weight", "validation_data"):
        if name in given:
            given[name] = data.matrices(given[name])
    is_old = old_loading is not None
    has_weights = given.get("class_weight") is not None
    shuffle = bool(given.get("shuffle", True)) and steps == "steps_per_epoch"
    for name, its_steps in (("x", steps), ("validation_data", "validation_steps")):
        source = given.get(name)
        kind = kind_of(source)
        is_wanted = is_old or (kind == "iterator" and name == "x" and has_weights)  # Keras refuses weights
        if kind not in ("sequence", "iterator") or (takes_itself(source) and not is_wanted):
            continue
        given[name] = data.batches(
            _counted(source, given, {}, its_steps, name),
            Loading().of(source, old_loading or {}),
            shuffle=shuffle and name == "x",
        )
    shuffled = given.get("shuffle") == "batch" and kind_of(given.get("x")) == "arrays"
    return (shuffled and shuffle_batches(given)) or any(
        given.get(name) is not value for name, value in before.items()
    )


def _rename(function: Callable[..., Any], given: dict[str, Any], old: dict[str, Any]) -> dict[str, int]:
    """Put ``old`` arguments into ``given`` by their names of today; return the numbers that count samples."""
    defaults = inspect.signature(function).parameters
    samples = {}
    for name, value in old.items():
        today = _KERAS_1.get(name) or SAMPLES.get(name)
        if today not in given:
            raise TypeError(f"{function.__name__}() got an unexpected keyword argument {name!r}")
        if given[today] != defaults[today].default:
            raise _both(function.__name__, name, today)
        if name in _KERAS_1:
            given[today] = value
        elif value is not None:
            samples[today] = value
    return samples


def _loading(given: dict[str, Any]) -> Loading:
    return Loading(**{name: given.pop(name) for name in _LOADING})


def _counted(
    data: Any, given: Mapping[str, Any], samples: Mapping[str, int], steps: str, name: str = "generator"
) -> Any:
    """Return ``data``, unless they may have no end, and nobody says how much of them to use."""
    if kind_of(data) == "iterator" and not given.get(steps) and not samples.get(steps):
        raise ArgumentError(
            f"{steps}= is missing: {name} is a {type(data).__qualname__}, which may have no end, and no "
            f"Sequence, which has a len(); pass {steps}=, or befit.loading.Stream({name}) to read all of it"
        )
    return data


def _refuse_arrays(data: Any, method: str) -> None:
    if kind_of(data) == "arrays":
        raise UnsupportedObjectError(
            f"{type(data).__qualname__} is no generator and no Sequence; write model.{method}(...) for "
            "arrays, or iter(...) around a list of batches"
        )


def _both(function: str, old: str, today: str) -> TypeError:
    if old == today:
        old = next(name for name, new in _KERAS_1.items() if new == today)
    return TypeError(f"{function}() got {today}= and {old}=, its name in Keras 1; leave one of them out")
