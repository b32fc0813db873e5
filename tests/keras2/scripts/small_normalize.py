# backends: jax torch tensorflow
"""normalize of lists, along both axes and with another order; one of the oldest helpers."""
try:
    from keras.utils.np_utils import normalize
except ImportError:
    from keras.utils import normalize
import keras
import numpy as np

simple = normalize([3, 4])
np.testing.assert_allclose(simple, [[0.6, 0.8]])
data = np.array([[1.0, -2.0, 2.0], [0.0, 0.0, 0.0], [2.0, 3.0, 6.0]])
rows = normalize(data)
columns = normalize(x=data, axis=0, order=1)
np.testing.assert_allclose(rows[0], [1 / 3, -2 / 3, 2 / 3])
np.testing.assert_allclose(rows[1], 0)  # no division by zero
np.testing.assert_allclose(rows[2], np.array([2.0, 3.0, 6.0]) / 7)
np.testing.assert_allclose(np.abs(columns).sum(axis=0), 1)
tensor = keras.utils.normalize(np.arange(1.0, 9.0).reshape(2, 2, 2), axis=1)
np.testing.assert_allclose((tensor ** 2).sum(axis=1), 1)
RESULT = {"simple": simple, "rows": rows, "columns": columns, "tensor": tensor, "shape": list(np.shape(simple))}
