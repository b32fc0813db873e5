"""The Keras side of ``multi_gpu_model``: a ``keras.Model`` that holds a template and lets an engine run it.

An engine is a subclass of ``ParallelModel``, one for each backend, in its ``replicate_engine.py``.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Iterator
from typing import Any

import keras

from befit._internal.adapters import integration
from befit.errors import ArgumentError, ReplicationError, UnsupportedObjectError
from befit.replicate.advice import advise

_BACKENDS = ("jax", "tensorflow", "torch")

# What the author of a model may override to train it in another way.
_TRAINING_METHODS = (
    "compile",
    "compute_loss",
    "compute_metrics",
    "evaluate",
    "fit",
    "get_metrics_result",
    "make_predict_function",
    "make_test_function",
    "make_train_function",
    "metrics",
    "predict",
    "predict_on_batch",
    "predict_step",
    "reset_metrics",
    "test_on_batch",
    "test_step",
    "train_on_batch",
    "train_step",
)

_NOT_THE_AUTHORS = ("befit", "builtins", "keras", "tensorflow", "torch")

# What compile() leaves in a model, and what saving it writes down.
_COMPILED_STATE = (
    "_compile_config",
    "_compile_loss",
    "_compile_metrics",
    "_loss_tracker",
    "compiled",
    "optimizer",
)


def _advising(name: str) -> Any:
    """Return Keras's method ``name``, with advice where memory ends."""

    @functools.wraps(getattr(keras.Model, name))
    def method(self: ParallelModel, *args: Any, **kwargs: Any) -> Any:
        try:
            return getattr(super(ParallelModel, self), name)(*args, **kwargs)
        except Exception as error:
            advise(error, self.devices)
            raise

    return method


class ParallelModel(keras.Model):
    """A ``keras.Model`` that runs ``template`` on several devices and has its variables for its own.

    Saving, the summary and every attribute that a ``keras.Model`` does not have are the template's.
    """

    def __init__(self, template: Any, devices: tuple[str, ...]) -> None:
        # Not super(): the next class may be the template's own, see `_class_with_own_steps`.
        keras.Model.__init__(self, name=f"{template.name}_x{len(devices)}", dtype=template.dtype_policy)
        self.template = template
        self.devices = devices
        self.optimizer: Any = None
        # The template converts its inputs itself, by its own rules.
        self._convert_input_args = False
        self._allow_non_tensor_positional_args = True
        if template.built:
            self.built = True

    _writes = True
    """Whether this process writes files: of those of a launcher, the first of each machine does."""

    fit = _advising("fit")
    evaluate = _advising("evaluate")
    predict = _advising("predict")
    train_on_batch = _advising("train_on_batch")
    test_on_batch = _advising("test_on_batch")
    predict_on_batch = _advising("predict_on_batch")

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Run the template; an engine decides where."""
        return self.template(inputs, training=training)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile the model, and with it a template that nobody has compiled: they share the optimizer."""
        template = self.template
        previous = self.optimizer
        super().compile(*args, **kwargs)
        if not template.compiled or (previous is not None and template.optimizer is previous):
            template.compile(*args, **kwargs)
            template.optimizer = self.optimizer

    def save(self, *args: Any, **kwargs: Any) -> Any:
        """Save the template, with this model's optimizer: the file opens on one device.

        Of several processes, the first of each machine writes it; the others return at once.
        """
        if not self._writes:
            return None
        with self._template_as_compiled_here() as template:
            return template.save(*args, **kwargs)

    def save_weights(self, *args: Any, **kwargs: Any) -> Any:
        """Save the template's weights, where ``save`` would save."""
        if not self._writes:
            return None
        with self._template_as_compiled_here() as template:
            return template.save_weights(*args, **kwargs)

    def load_weights(self, *args: Any, **kwargs: Any) -> Any:
        """Load the template's weights; of several processes, those of the first are everybody's."""
        with self._template_as_compiled_here() as template:
            result = template.load_weights(*args, **kwargs)
        self._bring_into_step()
        return result

    def _bring_into_step(self) -> None:
        """Give every process the first one's weights and states, and those of the optimizer."""
        if self.template.built:
            of_optimizer = [] if self.optimizer is None else self.optimizer.variables
            self._share([*self.template.variables, *of_optimizer])

    def _share(self, variables: list[Any]) -> None:
        """Give every process the first one's values. The part of an engine with several processes."""

    def export(self, *args: Any, **kwargs: Any) -> Any:
        """Export the template."""
        return self.template.export(*args, **kwargs)

    def to_json(self, **kwargs: Any) -> Any:
        """Return the template's configuration."""
        return self.template.to_json(**kwargs)

    def get_config(self) -> Any:
        """Raise: Keras would write down a model that opens on as many devices only."""
        raise ReplicationError(
            f"{self.name!r} runs on {len(self.devices)} devices and has no configuration of its own; write "
            "parallel.save(path) to save it as the plain model, or clone and serialize parallel.template"
        )

    def __reduce__(self) -> Any:  # a pickle, like a saved file, is the plain model
        with self._template_as_compiled_here() as template:
            return template.__reduce__()

    @property
    def layers(self) -> Any:
        """The template's layers."""
        return self.template.layers

    def summary(self, *args: Any, print_fn: Any = None, **kwargs: Any) -> None:
        """Print how many replicas there are, and the template's summary."""
        line = f"{self.name}: {len(self.devices)} replicas, on {', '.join(self.devices)}"
        if print_fn is None:
            sys.stdout.write(f"{line}\n")
        else:
            print_fn(line)
        self.template.summary(*args, print_fn=print_fn, **kwargs)

    def release(self) -> None:
        """Give back what the replicas hold: processes, threads, memory on the devices.

        The weights stay the template's; the next step takes the devices again.
        """

    def __getattr__(self, name: str) -> Any:
        inherited = getattr(super(), "__getattr__", None)  # torch's Module keeps its children behind one
        if inherited is not None:
            with contextlib.suppress(AttributeError):
                return inherited(name)
        # Keras asks itself for private names that may be missing; the template's would be wrong answers.
        if name == "template" or (name.startswith("_") and not _has_own_steps(type(self))):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.template, name)

    @contextlib.contextmanager
    def _template_as_compiled_here(self) -> Iterator[Any]:
        """Lend this model's optimizer, loss and metrics to a template that was compiled for itself."""
        template = self.template
        if not self.compiled or template.optimizer is self.optimizer:
            yield template
            return
        own = {name: vars(template)[name] for name in _COMPILED_STATE}
        vars(template).update({name: vars(self)[name] for name in _COMPILED_STATE})
        try:
            yield template
        finally:
            vars(template).update(own)


def available_devices(kind: str | None = None) -> list[str]:
    """Return the names of the devices of Keras's backend."""
    names: list[str] = _backend("replicate").available_devices(kind)
    return names


def simulate_devices(count: int) -> None:
    """Make ``count`` virtual CPU devices for Keras's backend."""
    _backend("replicate").simulate_devices(count)


def check_model(model: Any) -> None:
    """Raise unless ``model`` is a Keras model that can be replicated here."""
    if not isinstance(model, keras.Model):
        raise UnsupportedObjectError(
            f"multi_gpu_model replicates a keras.Model, not a {type(model).__qualname__}; "
            "wrap a layer in a model: keras.Sequential([layer])"
        )
    if isinstance(model, ParallelModel):
        raise ReplicationError(f"{model.name!r} is replicated already; pass its template: parallel.template")
    if keras.distribution.distribution() is not None:
        raise ReplicationError(
            "a keras.distribution is set and distributes every model itself; call "
            "keras.distribution.set_distribution(None) first, or train the model as it is"
        )
    set_on_the_model = [name for name in _TRAINING_METHODS if name in vars(model)]
    if set_on_the_model:
        raise ReplicationError(
            f"{', '.join(set_on_the_model)} was set on the model {model.name!r} itself and would be lost; "
            "define it in a subclass of keras.Model"
        )


def replicate(model: Any, names: tuple[str, ...], engine: str) -> ParallelModel:
    """Return a model that runs ``model`` on all the devices ``names``."""
    cls = _backend("replicate_engine").parallel_class(names, engine)
    if _has_own_steps(type(model)):
        cls = _class_with_own_steps(cls, model)
    parallel: ParallelModel = cls(model, names)
    return parallel


def refuse_engine(engine: str) -> None:
    """Raise where an engine was named on a backend that has but one."""
    if engine != "auto":
        raise ArgumentError(
            f"engine={engine!r} is for models on torch; on {keras.config.backend()} leave engine at 'auto'"
        )


def _backend(module: str) -> Any:
    backend = keras.config.backend()
    if backend not in _BACKENDS:
        raise ReplicationError(
            f"Keras's backend {backend} computes on one device; use one of {', '.join(_BACKENDS)}"
        )
    return integration(backend, module)


def _has_own_steps(cls: type) -> bool:
    """Return whether ``cls`` trains in a way that neither Keras nor befit wrote."""
    authors = [
        ancestor for ancestor in cls.__mro__ if ancestor.__module__.partition(".")[0] not in _NOT_THE_AUTHORS
    ]
    return any(name in vars(ancestor) for ancestor in authors for name in _TRAINING_METHODS)


def _class_with_own_steps(engine: type, model: Any) -> type:
    """Return a class that runs like ``engine`` and trains like the class of ``model``.

    Inheritance keeps the author's ``super()`` calls working; attributes that the author's ``__init__`` set
    are found on the template.
    """
    if isinstance(model, keras.Sequential) and not model.built:
        raise ReplicationError(
            f"{model.name!r} has training steps of its own and no shapes yet; "
            "call model.build(input_shape) first"
        )
    return type(
        f"Parallel{type(model).__name__}", (engine, type(model)), {"__module__": type(model).__module__}
    )
