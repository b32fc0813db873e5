"""The columns that a summary may have, and what they say of a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from befit.errors import ArgumentError
from befit.graph.rows import Row

TIMES = "\N{MULTIPLICATION SIGN}"
NAME = "Layer (type)"
CHAIN = ("output_shape", "params")
GRAPH = (*CHAIN, "connected_to")


@dataclass(frozen=True, slots=True)
class Column:
    """A heading, what stands below it, and whether that is a number."""

    heading: str
    lines: Callable[[Row], Sequence[str]]
    is_number: bool = False


def _trainable(row: Row) -> str:
    if not row.params:
        return ""
    if row.trainable_params == row.params:
        return "yes"
    return "in part" if row.trainable_params else "no"


def readable_bytes(count: int) -> str:
    """Return a number of bytes as people write it.

    >>> readable_bytes(1536)
    '1.5 KiB'
    """
    size, units = float(count), ["B", "KiB", "MiB", "GiB"]
    while size >= 1024 and len(units) > 1:
        size /= 1024
        del units[0]
    return f"{size:.1f} {units[0]}" if count >= 1024 else f"{count} B"


COLUMNS: Mapping[str, Column] = {
    "output_shape": Column("Output Shape", lambda row: (row.output_shape,)),
    "params": Column("Param #", lambda row: (str(row.params) if row.built else "unbuilt",), True),
    "connected_to": Column("Connected to", lambda row: row.connected_to),
    "input_shape": Column("Input Shape", lambda row: (row.input_shape,)),
    "trainable": Column("Trainable", lambda row: (_trainable(row),)),
    "dtype": Column("Dtype", lambda row: (row.dtype,)),
    "memory": Column("Memory", lambda row: (readable_bytes(row.memory),), True),
    "macs": Column("MACs", lambda row: ("?" if row.macs is None else f"{row.macs:,}",), True),
}


def checked(columns: Sequence[str]) -> tuple[str, ...]:
    """Return the names of columns.

    Raises:
        ArgumentError: one of them is the name of none.
    """
    names = (columns,) if isinstance(columns, str) else tuple(columns)
    unknown = [name for name in names if name not in COLUMNS]
    if unknown:
        raise ArgumentError(
            f"columns={columns!r}: there is no column {unknown[0]!r}; choose from {', '.join(COLUMNS)}"
        )
    return names


def blocks_of(rows: Sequence[Row], columns: Sequence[str]) -> list[list[list[str]]]:
    """Return the cells of each row, line by line; rows that are repeated together have a line above them."""
    chosen = [COLUMNS[name].lines for name in columns]
    blocks = []
    block: int | None = None
    for row in rows:
        if row.block is not None and row.block != block:
            size = sum(other.block == row.block for other in rows)
            blocks.append([[f"{TIMES}{row.times} ({size} layers)", *[""] * len(chosen)]])
        block = row.block
        name = f"{'  ' * row.depth}{row.name} ({row.type})"
        if block is not None:
            name = f"  {name}"
        elif row.times > 1:
            name = f"{TIMES}{row.times} {name}"
        cells = [(name,), *[lines(row) for lines in chosen]]
        blocks.append([list(map(_visible, line)) for line in zip_longest(*cells, fillvalue="")])
    return blocks


def _visible(text: str) -> str:
    """Return ``text`` with what a terminal would obey, such as a line break in a name, written out."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
