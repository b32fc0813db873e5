"""Sequence and Loader: every sample exactly once an epoch, from any number of workers."""

from befit.loading.loader import Loader
from befit.loading.randomness import batch_rng
from befit.loading.sequence import Sequence

__all__ = ["Loader", "Sequence", "batch_rng"]
