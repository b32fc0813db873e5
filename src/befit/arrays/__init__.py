"""Labels to one-hot rows and arrays to unit norm: for NumPy, PyTorch, JAX and TensorFlow alike."""

from befit.arrays.categorical import OneHotBuffer, from_categorical, to_categorical
from befit.arrays.normalization import normalize

__all__ = ["OneHotBuffer", "from_categorical", "normalize", "to_categorical"]
