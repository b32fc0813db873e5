"""How far a loader has come, in plain numbers: what ``state_dict`` returns and ``load_state_dict`` takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from befit._internal.arguments import as_count, as_seed
from befit.errors import ArgumentError
from befit.loading.scheduler import Scheduler

_VERSION = 1


def progress_of(scheduler: Scheduler) -> dict[str, Any]:
    """Return the state of ``scheduler`` and, if it has one, of its source."""
    epoch, position = scheduler.place()
    state: dict[str, Any] = {
        "version": _VERSION,
        "epoch": epoch,
        "position": position,
        "seed": scheduler.seed,
        "order_seed": scheduler.order_seed,
    }
    state_dict = getattr(scheduler.source, "state_dict", None)
    if callable(state_dict):
        state["sequence"] = state_dict()
    return state


def load_progress(scheduler: Scheduler, state: Mapping[str, Any]) -> None:
    """Put ``scheduler`` and its source into ``state``; nothing is changed where that is impossible."""
    if not isinstance(state, Mapping) or state.get("version") != _VERSION:
        raise ArgumentError(
            f"{state!r} is no state of a Loader; pass what state_dict() of a befit Loader returned"
        )
    try:
        epoch = as_count("state['epoch']", state["epoch"], minimum=0)
        position = as_count("state['position']", state["position"], minimum=0)
        seed, order_seed = (None if state[n] is None else as_seed(state[n]) for n in ("seed", "order_seed"))
    except KeyError as error:
        raise ArgumentError(f"the state has no {error}; pass what state_dict() returned, whole") from None
    if (order_seed is None) != (scheduler.order_seed is None):
        shuffled = order_seed is not None
        raise ArgumentError(
            f"the state was saved with shuffle={shuffled}; make the Loader with shuffle={shuffled}, too"
        )
    load_state_dict = getattr(scheduler.source, "load_state_dict", None)
    if ("sequence" in state) != callable(load_state_dict):
        raise ArgumentError(
            f"the state was saved with a sequence that {'has' if 'sequence' in state else 'has no'} "
            f"state_dict(), and this one {'has' if callable(load_state_dict) else 'has no'} "
            "load_state_dict(); load the state of the same data"
        )
    scheduler.end_running()
    if load_state_dict is not None:
        load_state_dict(state["sequence"])
    scheduler.seed, scheduler.order_seed = seed, order_seed
    scheduler.go_to(epoch, position)
