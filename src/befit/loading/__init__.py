"""Sequence and Loader: every sample exactly once an epoch, from any number of workers."""

from befit.loading.building import empty
from befit.loading.enqueuers import GeneratorEnqueuer, OrderedEnqueuer, SequenceEnqueuer
from befit.loading.loader import Loader
from befit.loading.prefetch import DevicePrefetch, device_prefetch
from befit.loading.randomness import batch_rng
from befit.loading.sequence import Sequence
from befit.loading.stats import LoaderStats

__all__ = [
    "DevicePrefetch",
    "GeneratorEnqueuer",
    "Loader",
    "LoaderStats",
    "OrderedEnqueuer",
    "Sequence",
    "SequenceEnqueuer",
    "batch_rng",
    "device_prefetch",
    "empty",
]
