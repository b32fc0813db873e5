"""befit: everything your model needs around ``fit()``.

The whole documented ``keras.utils`` toolbox for today's Keras 3 on any backend and for plain PyTorch.
"""

from typing import TYPE_CHECKING

from befit._internal.lazy import lazy_face

__version__ = "0.1.0"

if TYPE_CHECKING:
    from befit.arrays import from_categorical, normalize, to_categorical
    from befit.errors import BefitError
    from befit.files import get_file
    from befit.graph import (
        ModelGraph,
        Summary,
        model_graph,
        model_to_dot,
        plot_model,
        print_summary,
        summary,
    )
    from befit.hdf5 import HDF5Matrix
    from befit.loading import Loader, Sequence
    from befit.objects import (
        CustomObjectScope,
        custom_object_scope,
        deserialize,
        get_custom_objects,
        register,
        serialize,
    )
    from befit.replicate import multi_gpu_model

__all__ = [
    "CustomObjectScope",
    "custom_object_scope",
    "get_custom_objects",
    "register",
    "serialize",
    "deserialize",
    "HDF5Matrix",
    "Sequence",
    "Loader",
    "to_categorical",
    "from_categorical",
    "normalize",
    "get_file",
    "print_summary",
    "summary",
    "Summary",
    "plot_model",
    "model_to_dot",
    "model_graph",
    "ModelGraph",
    "multi_gpu_model",
    "BefitError",
    "__version__",
]

__getattr__, __dir__ = lazy_face(
    __name__,
    {
        "befit.objects": (
            "CustomObjectScope",
            "custom_object_scope",
            "get_custom_objects",
            "register",
            "serialize",
            "deserialize",
        ),
        "befit.hdf5": ("HDF5Matrix",),
        "befit.loading": ("Sequence", "Loader"),
        "befit.arrays": ("to_categorical", "from_categorical", "normalize"),
        "befit.files": ("get_file",),
        "befit.graph": (
            "print_summary",
            "summary",
            "Summary",
            "plot_model",
            "model_to_dot",
            "model_graph",
            "ModelGraph",
        ),
        "befit.replicate": ("multi_gpu_model",),
        "befit.errors": ("BefitError",),
    },
)
