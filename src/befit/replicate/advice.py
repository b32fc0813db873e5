"""What is said beside an error of a replica: which one, and what can be done."""

from __future__ import annotations

# How the frameworks say that memory has ended. torch's CPU and JAX have no class of their own for it.
_TYPES = ("MemoryError", "OutOfMemoryError", "ResourceExhaustedError")
_TEXTS = ("RESOURCE_EXHAUSTED", "can't allocate memory")


def advise(error: BaseException, devices: tuple[str, ...]) -> None:
    """Say beside an error that means "out of memory" what can be done; a second call adds nothing."""
    note = (
        f"each of the {len(devices)} replicas ({', '.join(devices)}) needs memory for its own rows of the "
        "batch, and for a copy of the weights; pass a smaller batch, or more devices"
    )
    # What one method passes on may come from another one that has added it.
    if is_out_of_memory(error) and note not in getattr(error, "__notes__", ()):
        error.add_note(note)


def name_replica(error: BaseException, replica: int, count: int, devices: tuple[str, ...]) -> None:
    """Say beside an error that replica number ``replica`` of ``count`` raised it, and add advice."""
    error.add_note(f"raised in replica {replica} of {count}, on {devices[replica]}")
    advise(error, devices)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether ``error`` says that a device has no memory left.

    >>> is_out_of_memory(MemoryError()), is_out_of_memory(ValueError("no memory"))
    (True, False)
    """
    if isinstance(error, MemoryError) or type(error).__name__ in _TYPES:
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _TEXTS)
