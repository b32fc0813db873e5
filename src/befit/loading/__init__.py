"""Sequence, Loader, Stream: every sample exactly once, from any number of workers."""

from befit.loading.as_batches import as_batches
from befit.loading.building import empty
from befit.loading.enqueuers import GeneratorEnqueuer, OrderedEnqueuer, SequenceEnqueuer
from befit.loading.loader import Loader
from befit.loading.prefetch import DevicePrefetch, device_prefetch
from befit.loading.randomness import batch_rng
from befit.loading.sequence import Sequence
from befit.loading.stats import LoaderStats
from befit.loading.stream import Stream

__all__ = [
    "DevicePrefetch",
    "GeneratorEnqueuer",
    "Loader",
    "LoaderStats",
    "OrderedEnqueuer",
    "Sequence",
    "SequenceEnqueuer",
    "Stream",
    "as_batches",
    "batch_rng",
    "device_prefetch",
    "empty",
]
