"""Labels to one-hot rows and arrays to unit norm: for NumPy, PyTorch, JAX and TensorFlow alike."""

from befit.arrays.categorical import to_categorical
from befit.arrays.normalization import normalize

__all__ = ["normalize", "to_categorical"]
