"""One table of the names of Keras 2: where each stood, since when it is gone, what stands for it today.

Everything that knows old names is derived from it: what ``befit.keras2.install()`` adds to Keras, the hints
that it prints, what ``befit migrate`` writes, and the table in the documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

ROOTS = ("keras", "tensorflow.keras", "tf_keras", "tensorflow.python.keras")
"""The packages under which scripts import Keras; ``keras`` is today's."""

MODULES: Mapping[str, str] = {
    "utils.conv_utils": "2.13",
    "utils.data_utils": "2.13",
    "utils.generic_utils": "2.13",
    "utils.io_utils": "2.13",
    "utils.layer_utils": "2.13",
    "utils.multi_gpu_utils": "2.10",
    "utils.np_utils": "2.13",
    "utils.training_utils": "2.2",
    "utils.vis_utils": "2.13",
    "utils.visualize_util": "2.0",
}
"""Modules of Keras 2 that are gone, below a root, and the first release of Keras without them."""


@dataclass(frozen=True)
class OldName:
    """A function or class of ``keras.utils``."""

    name: str
    modules: tuple[str, ...]
    """Where it stood, below a root: ``"utils"`` is ``keras.utils``."""
    today: str
    """Where it is imported from today, without ``befit.keras2``."""
    gone: str | None
    """The first release of Keras whose ``keras.utils`` has it no longer; ``None``: Keras 3 has the name."""
    why: str
    """What is other, or missing, in Keras 3."""
    arguments: Mapping[str, str] = field(default_factory=dict)
    """Names of arguments that have another one today."""

    @property
    def write(self) -> str:
        """The import to write today."""
        module, _, name = self.today.rpartition(".")
        return f"from {module} import {name}" + ("" if name == self.name else f" as {self.name}")


@dataclass(frozen=True)
class OldMethod:
    """A method of ``keras.Model``, or arguments of one, that Keras 3 has no longer."""

    name: str
    today: str
    """The method that does it today."""
    gone: str | None
    """The first release of Keras without it; ``None``: only some arguments are gone."""
    write: str
    """What to write today."""
    arguments: Mapping[str, str | None] = field(default_factory=dict)
    """Arguments that have another name today; ``None``: see ``LOADING``."""


_MODULE = "only in a module that is gone"


def _gone(name: str, module: str, since: str, today: str, why: str, **arguments: str) -> OldName:
    return OldName(name, ("utils", module), today, since, why, arguments)


def _other(name: str, module: str, today: str, why: str, **arguments: str) -> OldName:
    return OldName(name, ("utils", module), today, None, why, arguments)


def _inner(name: str, module: str, today: str, why: str = _MODULE) -> OldName:
    return OldName(name, (module,), today, "2.13", why)


_DATA, _GENERIC, _IO = "utils.data_utils", "utils.generic_utils", "utils.io_utils"
_LAYER, _NP, _VIS = "utils.layer_utils", "utils.np_utils", "utils.vis_utils"

NAMES: tuple[OldName, ...] = (
    _gone("HDF5Matrix", _IO, "2.4", "befit.HDF5Matrix", "gone"),
    _other(
        "Sequence",
        _DATA,
        "befit.Sequence",
        "warns where super().__init__() is not called; on_epoch_end comes too often",
    ),
    _gone("SequenceEnqueuer", _DATA, "3.0", "befit.loading.SequenceEnqueuer", "gone"),
    _gone("OrderedEnqueuer", _DATA, "3.0", "befit.loading.OrderedEnqueuer", "gone"),
    _gone("GeneratorEnqueuer", _DATA, "3.0", "befit.loading.GeneratorEnqueuer", "gone"),
    _other(
        "get_file",
        _DATA,
        "befit.get_file",
        "other paths after untar= and extract=",
        md5_hash="file_hash",
    ),
    _inner("validate_file", _DATA, "befit.legacy.validate_file"),
    _inner("_hash_file", _DATA, "befit.legacy.hash_file"),
    _other("CustomObjectScope", _GENERIC, "befit.CustomObjectScope", "one dict at most; names leak"),
    _other("custom_object_scope", _GENERIC, "befit.custom_object_scope", "one dict at most; names leak"),
    _other("get_custom_objects", _GENERIC, "befit.get_custom_objects", "names are not found by a string"),
    _other(
        "serialize_keras_object",
        _GENERIC,
        "befit.objects.serialize_keras_object",
        "other configs, which Keras 2 cannot read",
    ),
    _other(
        "deserialize_keras_object",
        _GENERIC,
        "befit.objects.deserialize_keras_object",
        "no module_objects=; refuses configs of Keras 2",
    ),
    OldName("Progbar", (_GENERIC,), "befit.legacy.Progbar", "2.13", "shows the last step alone at its end"),
    _inner("has_arg", _GENERIC, "befit.legacy.has_arg"),
    _inner("func_dump", _GENERIC, "befit.legacy.func_dump"),
    _inner("func_load", _GENERIC, "befit.legacy.func_load"),
    _inner("to_list", _GENERIC, "befit.legacy.to_list"),
    _inner("unpack_singleton", _GENERIC, "befit.legacy.unpack_singleton"),
    _inner("slice_arrays", _GENERIC, "befit.legacy.slice_arrays"),
    _gone("convert_all_kernels_in_model", _LAYER, "2.4", "befit.legacy.convert_all_kernels_in_model", "gone"),
    _inner("convert_dense_weights_data_format", _LAYER, "befit.legacy.convert_dense_weights_data_format"),
    _inner("count_params", _LAYER, "befit.legacy.count_params"),
    OldName(
        "get_source_inputs",
        (_LAYER,),
        "keras.utils.get_source_inputs",
        "2.13",
        _MODULE,
    ),
    OldName("convert_kernel", ("utils.conv_utils", _LAYER), "befit.legacy.convert_kernel", "2.13", _MODULE),
    _inner("normalize_tuple", "utils.conv_utils", "befit.legacy.normalize_tuple"),
    _inner("conv_output_length", "utils.conv_utils", "befit.legacy.conv_output_length"),
    _gone("print_summary", _LAYER, "2.4", "befit.print_summary", "gone"),
    _other("plot_model", _VIS, "befit.plot_model", "needs Graphviz; other defaults"),
    _other("model_to_dot", _VIS, "befit.legacy.model_to_dot", "needs pydot; other labels"),
    OldName("plot", ("utils.visualize_util",), "befit.plot_model", "2.0", "gone"),
    _other(
        "to_categorical", _NP, "befit.to_categorical", "no dtype=, no nb_classes=", nb_classes="num_classes"
    ),
    _other("normalize", _NP, "befit.normalize", "lists are refused"),
    OldName(
        "multi_gpu_model",
        ("utils", "utils.multi_gpu_utils", "utils.training_utils"),
        "befit.multi_gpu_model",
        "2.4",
        "gone",
    ),
)

LOADING: Mapping[str, str] = {
    "max_queue_size": "max_queue_size",
    "workers": "workers",
    "use_multiprocessing": "use_multiprocessing",
    "max_q_size": "max_queue_size",
    "nb_worker": "workers",
    "pickle_safe": "use_multiprocessing",
}
"""Arguments of methods that say how data is loaded, which ``as_batches`` and ``Loader`` are told today.

With the name that Keras 2 has for each: the others are those of Keras 1.
"""

SAMPLES: Mapping[str, str] = {
    "samples_per_epoch": "steps_per_epoch",
    "nb_val_samples": "validation_steps",
    "val_samples": "steps",
}
"""Arguments of Keras 1 that count samples; their names of today count batches."""

_LOADING = dict.fromkeys(LOADING)

METHODS: tuple[OldMethod, ...] = (
    OldMethod(
        "fit_generator",
        "fit",
        "3.0",
        "model.fit(befit.Loader(sequence, workers=4), epochs=...), or fit(befit.loading.Stream(generator), "
        "steps_per_epoch=...)",
        {
            "generator": "x",
            "nb_epoch": "epochs",
            "samples_per_epoch": "steps_per_epoch",
            "nb_val_samples": "validation_steps",
            **_LOADING,
        },
    ),
    OldMethod(
        "evaluate_generator",
        "evaluate",
        "3.0",
        "model.evaluate(befit.Loader(sequence, workers=4)), or evaluate(befit.loading.Stream(generator), "
        "steps=...)",
        {"generator": "x", "val_samples": "steps", **_LOADING},
    ),
    OldMethod(
        "predict_generator",
        "predict",
        "3.0",
        "model.predict(befit.Loader(sequence, workers=4)), or predict(befit.loading.Stream(generator), "
        "steps=...)",
        {"generator": "x", "val_samples": "steps", **_LOADING},
    ),
    OldMethod(
        "fit",
        "fit",
        None,
        "model.fit(befit.Loader(sequence, workers=4), epochs=...)",
        {"nb_epoch": "epochs", **_LOADING},
    ),
    OldMethod("evaluate", "evaluate", None, "model.evaluate(befit.Loader(sequence, workers=4))", _LOADING),
    OldMethod("predict", "predict", None, "model.predict(befit.Loader(sequence, workers=4))", _LOADING),
)
