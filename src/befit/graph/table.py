"""The two forms of a summary's table: the plain text of Keras 2, and HTML for notebooks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from html import escape

from befit.errors import ArgumentError

Cells = Sequence[str]


def plain_lines(
    header: Cells,
    blocks: Sequence[Sequence[Cells]],
    footer: Sequence[str],
    line_length: int,
    positions: Sequence[float],
) -> Iterator[str]:
    """Yield the lines of a table; each block, one or more rows of cells, is followed by a rule.

    ``positions`` says where columns end, as shares of ``line_length`` if the last one is at most 1, else in
    characters. Every line is as Keras 2.1 printed it, spaces at its end included.
    """
    ends = _column_ends(len(header), line_length, positions)
    thin, thick = "_" * line_length, "=" * line_length
    yield thin
    yield _line(header, ends)
    yield thick
    for number, block in enumerate(blocks, start=1):
        for cells in block:
            yield _line(cells, ends)
        yield thick if number == len(blocks) else thin
    yield from footer
    yield thin


def natural_ends(header: Cells, blocks: Sequence[Sequence[Cells]]) -> list[int]:
    """Return where columns end, in characters, so that nothing is cut and two spaces stand between them."""
    rows = [header, *(cells for block in blocks for cells in block)]
    widths = [max(map(len, column)) + 2 for column in zip(*rows, strict=True)]
    return list(itertools.accumulate(widths))


def html_table(header: Cells, blocks: Sequence[Sequence[Cells]], footer: Sequence[str], title: str) -> str:
    """Return the table as HTML that takes its colours from the page around it."""
    cell = 'style="text-align:left;vertical-align:top;white-space:pre"'
    head = "".join(f"<th {cell}>{escape(text)}</th>" for text in header)
    rows = []
    for block in blocks:
        columns = zip(*block, strict=True)  # the rows of one block become lines in its cells
        texts = ("<br>".join(escape(text) for text in column if text) for column in columns)
        rows.append("<tr>" + "".join(f"<td {cell}>{text}</td>" for text in texts) + "</tr>")
    below = "<br>".join(map(escape, footer))
    return (
        f"<table><caption>{escape(title)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table><p>{below}</p>"
    )


def _line(cells: Cells, ends: Sequence[int]) -> str:
    line, *others = cells
    line = line[: ends[0]].ljust(ends[0])
    for cell, end in zip(others, ends[1:], strict=True):
        line = f"{line[:-1]} {cell}"[:end].ljust(end)  # at least one space between two columns
    return line


def _column_ends(columns: int, line_length: int, positions: Sequence[float]) -> list[int]:
    given = list(positions)
    if len(given) < columns:
        raise ArgumentError(
            f"positions={given} says where {len(given)} columns end; this table has {columns}, "
            f"so write {columns} numbers, such as {_example(columns)}"
        )
    ends = [int(line_length * position) if given[-1] <= 1 else int(position) for position in given]
    if ends[0] < 0 or ends != sorted(ends):
        raise ArgumentError(f"positions={given} must not be negative and must not decrease")
    return ends[:columns]


def _example(columns: int) -> tuple[float, ...]:
    even = tuple(round((number + 1) / columns, 2) for number in range(columns))
    return DEFAULT_POSITIONS.get(columns, even)


DEFAULT_LENGTH = {3: 65, 4: 98}
DEFAULT_POSITIONS = {3: (0.45, 0.85, 1.0), 4: (0.33, 0.55, 0.67, 1.0)}
