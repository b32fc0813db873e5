# backends: jax
"""HDF5Matrix: slices, numbers, arrays and lists as indices; shape, dtype, ndim, size, len."""
import h5py
import keras.utils.io_utils as io
import numpy as np

data = np.arange(60, dtype="int32").reshape(20, 3)
f = h5py.File("numbers.h5", "w")
f.create_dataset("numbers", data=data, chunks=(4, 3), compression="gzip")
f.close()

m = io.HDF5Matrix("numbers.h5", "numbers", start=5, end=15)
assert m.shape == (10, 3) and len(m) == 10 and m.ndim == 2 and m.size == 30
assert m.dtype == np.int32
window = data[5:15]
np.testing.assert_array_equal(m[:], window)
np.testing.assert_array_equal(m[2:4], window[2:4])
np.testing.assert_array_equal(m[:4], window[:4])
np.testing.assert_array_equal(m[7:], window[7:])
np.testing.assert_array_equal(m[0], window[0])
np.testing.assert_array_equal(m[np.int64(9)], window[9])
np.testing.assert_array_equal(m[np.array([1, 4, 8])], window[[1, 4, 8]])
np.testing.assert_array_equal(m[[0, 9]], window[[0, 9]])

errors = []
for bad in (10, [3, 10], np.array([11])):
    try:
        m[bad]
    except IndexError:
        errors.append(str(bad))
assert len(errors) == 3

half = io.HDF5Matrix(datapath="numbers.h5", dataset="numbers", normalizer=lambda v: v / 2.0)
np.testing.assert_allclose(half[:], data / 2.0)
RESULT = {
    "shape": m.shape, "start, end": [m.start, m.end], "errors": errors, "half": half[17:20],
    "one": half[4], "mean": float(np.mean(half[:])), "half dtype": str(half.dtype), "half shape": half.shape,
}
