"""What Keras 2 had and nobody has any more, to import without changing anything in Keras.

``names`` is the table of all old names; ``befit.keras2`` brings those back to Keras itself.
"""

from typing import TYPE_CHECKING

from befit._internal.lazy import lazy_face

if TYPE_CHECKING:
    from befit.integrations.keras.progbar import Progbar
    from befit.legacy.arguments import has_arg, normalize_tuple
    from befit.legacy.convolutions import conv_output_length, convert_all_kernels_in_model, convert_kernel
    from befit.legacy.dot import model_to_dot
    from befit.legacy.files import hash_file, validate_file
    from befit.legacy.function_dumps import func_dump, func_load
    from befit.legacy.lists import slice_arrays, to_list, unpack_singleton
    from befit.legacy.weights import convert_dense_weights_data_format, count_params

__all__ = [
    "Progbar",
    "conv_output_length",
    "convert_all_kernels_in_model",
    "convert_dense_weights_data_format",
    "convert_kernel",
    "count_params",
    "func_dump",
    "func_load",
    "has_arg",
    "hash_file",
    "model_to_dot",
    "normalize_tuple",
    "slice_arrays",
    "to_list",
    "unpack_singleton",
    "validate_file",
]

# The table is read by those who want nothing of all this, so each module is imported when it is needed.
__getattr__, __dir__ = lazy_face(
    __name__,
    {
        "befit.integrations.keras.progbar": ("Progbar",),
        "befit.legacy.arguments": ("has_arg", "normalize_tuple"),
        "befit.legacy.convolutions": (
            "conv_output_length",
            "convert_all_kernels_in_model",
            "convert_kernel",
        ),
        "befit.legacy.dot": ("model_to_dot",),
        "befit.legacy.files": ("hash_file", "validate_file"),
        "befit.legacy.function_dumps": ("func_dump", "func_load"),
        "befit.legacy.lists": ("slice_arrays", "to_list", "unpack_singleton"),
        "befit.legacy.weights": ("convert_dense_weights_data_format", "count_params"),
    },
)
