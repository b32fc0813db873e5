"""The rank of this process in Ray Train."""

from __future__ import annotations


def live_rank() -> tuple[int, int] | None:
    """Return (world rank, world size) inside the training function of a trainer.

    Asked only where somebody has imported ``ray.train``, which needs more packages than Ray does.
    """
    from ray import train
    from ray.train._internal.session import get_session
    from ray.train.context import TrainContext as FirstTrainContext

    try:
        context = train.get_context()
        # Version 1 of Ray Train answers anywhere: outside of training with a warning, and world size 1.
        if isinstance(context, FirstTrainContext) and get_session() is None:
            return None
        return context.get_world_rank(), context.get_world_size()
    except (RuntimeError, DeprecationWarning):  # the second is what Ray raises in a trial of Tune
        return None
