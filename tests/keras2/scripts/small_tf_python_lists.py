# backends: jax tensorflow
"""Inner functions that people imported from tensorflow.python.keras.utils and from tf_keras."""
import numpy as np
from tensorflow.python.keras.utils.np_utils import to_categorical
from tf_keras.utils.conv_utils import conv_output_length, normalize_tuple
from tf_keras.utils.generic_utils import slice_arrays, to_list, unpack_singleton

sizes = [conv_output_length(10, 3, padding, stride) for padding in ("valid", "same", "full") for stride in (1, 2)]
assert sizes == [8, 4, 10, 5, 12, 6], sizes
dilated = conv_output_length(10, 3, "causal", 1, dilation=2)
assert dilated == 10
assert normalize_tuple(2, 3, "strides") == (2, 2, 2)
assert to_list("one") == ["one"] and to_list([1, 2]) == [1, 2]
assert unpack_singleton([7]) == 7 and unpack_singleton([7, 8]) == [7, 8]
x = [np.arange(10), np.arange(20).reshape(10, 2)]
first, second = slice_arrays(x, 2, 5)
picked = slice_arrays(x, [0, 9])
assert first.tolist() == [2, 3, 4] and second.shape == (3, 2)
one_hot = to_categorical([1, 0], 2)
RESULT = {"sizes": sizes, "dilated": dilated, "second": second, "picked": picked, "one_hot": one_hot}
