# backends: jax
"""to_categorical with y=, nb_classes=, num_classes= and dtype=, from np_utils and from utils."""
import numpy as np
from keras.utils import np_utils, to_categorical
from keras.utils.np_utils import to_categorical as to_one_hot

y_train = np.array([[3], [0], [1], [3]])
old = np_utils.to_categorical(y_train, 5)
keras1 = np_utils.to_categorical(y=[2, 0, 1], nb_classes=4)
bytes_ = to_categorical(y_train, num_classes=4, dtype="uint8")
shaped = to_one_hot(np.array([[0, 1], [2, 0]]))
assert old.shape == (4, 5) and old.dtype == np.float32
np.testing.assert_array_equal(old, np.eye(5)[[3, 0, 1, 3]])
np.testing.assert_array_equal(keras1, np.eye(4)[[2, 0, 1]])
assert bytes_.dtype == np.uint8 and bytes_.sum() == 4
assert shaped.shape == (2, 2, 3)
labels = np.argmax(old, axis=1)
assert labels.tolist() == [3, 0, 1, 3]
RESULT = {
    "old": old,
    "keras1": keras1,
    "bytes": bytes_,
    "shaped": shaped,
    "dtypes": [str(a.dtype) for a in (old, keras1, bytes_, shaped)],
}
