"""A summary's table for terminals, made by the library rich."""

from __future__ import annotations

import io
from collections.abc import Sequence

from befit._internal.optional import require

Cells = Sequence[str]


def rich_lines(
    header: Cells,
    numbers: Sequence[bool],
    blocks: Sequence[Sequence[Cells]],
    footer: Sequence[str],
    width: int | None,
    *,
    colour: bool,
) -> list[str]:
    """Return the lines of a table.

    Args:
        header: the heading of each column.
        numbers: for each column whether it is set flush right.
        blocks: the rows; each is one or more lines of cells.
        footer: what stands below.
        width: the most characters in a line; longer cells are wrapped. As many as needed if not given, in a
            terminal as many as it has.
        colour: whether the lines go to a terminal, with its codes for colours.

    Raises:
        MissingDependencyError: rich is not installed.
    """
    box, console, table, text = (
        require(f"rich.{part}", extra="rich", purpose="style='rich'")
        for part in ("box", "console", "table", "text")
    )
    page = io.StringIO()
    # Without a terminal rich would assume one of 80 columns and cut.
    paper = console.Console(
        file=page, width=width or (None if colour else 10_000), force_terminal=colour, highlight=False
    )
    grid = table.Table(box=box.ROUNDED, header_style="bold")
    for number, (heading, is_number) in enumerate(zip(header, numbers, strict=True)):
        grid.add_column(
            text.Text(heading),
            justify="right" if is_number else "left",
            style="" if number else "cyan",
            overflow="fold",
        )
    for block in blocks:
        columns = zip(*block, strict=True)
        grid.add_row(*(text.Text("\n".join(cells).rstrip("\n")) for cells in columns))
    paper.print(grid)
    for line in footer:
        paper.print(text.Text(line))
    return page.getvalue().splitlines()
