"""How fast batches arrive on a GPU; where there is none, one line says so."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import Any

from befit import Loader
from benchmarks.interleave import in_turn, keep
from benchmarks.loading_measure import Verdict, ratios, settle, spread
from benchmarks.loading_peers import AHEAD, WORKERS
from benchmarks.loading_sources import Ready, pictures

_BYTES = 64 * 224 * 224 * 3 * 4


def gpu() -> list[Verdict]:
    """38.5 MB from a worker to the device."""
    import torch

    if not torch.cuda.is_available():
        print("loading to a GPU: skipped, torch sees none\n")
        return []
    from torch.utils.data import DataLoader

    from befit.loading import device_prefetch

    source = Ready(48, pictures)

    def pinned(loader: Iterable[Any]) -> Iterator[Any]:
        for index, batch in loader:
            yield index, batch.to("cuda", non_blocking=True)

    with ExitStack() as stack:
        loader = stack.enter_context(Loader(source, workers=WORKERS, engine="processes", prefetch=AHEAD))
        # Spawned, because CUDA does not outlive a fork, and this process may have started it.
        peer = DataLoader(
            source,
            batch_size=None,
            num_workers=WORKERS,
            persistent_workers=True,
            prefetch_factor=AHEAD,
            pin_memory=True,
            multiprocessing_context="spawn",
        )
        host = torch.from_numpy(pictures()).pin_memory()

        def link() -> Iterator[Any]:
            for index in range(len(source)):
                yield index, host.to("cuda", non_blocking=True)

        seconds = in_turn(
            {
                "befit": _seconds(lambda: device_prefetch(loader, "cuda")),
                "torch, pin_memory": _seconds(lambda: pinned(peer)),
                "the link, from pinned memory": _seconds(link),
            },
            rounds=5,
        )
    faster = {name: ratios(values, seconds["befit"]) for name, values in seconds.items()}
    keep(
        "loading to a GPU",
        ("", "GB/s (least - greatest)", "befit is faster by"),
        [
            (name, spread([_BYTES / each / 1e9 for each in values]), spread(faster[name]))
            for name, values in seconds.items()
        ],
    )
    ratio = statistics.median(faster["torch, pin_memory"])
    rates = {name: f"{_BYTES / statistics.median(values) / 1e9:.1f} GB/s" for name, values in seconds.items()}
    peer_rate = f"torch, pin_memory {rates['torch, pin_memory']}"
    return [Verdict("38.5 MB to the GPU", rates["befit"], peer_rate, f"{ratio:.2f}", ">= 1.0", ratio >= 1)]


def _seconds(epoch: Callable[[], Iterable[Any]]) -> Callable[[], float]:
    """Return a function that reads one epoch and tells the seconds per batch, from the first batch on."""
    import torch

    def run() -> float:
        settle()
        started = 0.0
        count = 0
        for index, batch in epoch():
            if int(index) != count:
                raise RuntimeError(f"batch {index} came where {count} was due")
            batch.sum()  # something that must wait for the bytes
            if not count:
                torch.cuda.synchronize()
                started = time.perf_counter()
            count += 1
        torch.cuda.synchronize()
        return (time.perf_counter() - started) / (count - 1)

    return run
