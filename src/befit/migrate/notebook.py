"""Notebooks: their code cells are one script."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import replace
from typing import Any

from befit.errors import ArgumentError
from befit.migrate.migration import Migration, Remark, migrate_source

_BEGINS = "# befit: cell "
_MAGIC = "pass  # befit: magic "
_IS_MAGIC = re.compile(r"^(\s*)([%!?].*)$")
_WAS_MAGIC = re.compile(rf"^(\s*){re.escape(_MAGIC)}(.*)$")
_STILL_PYTHON = ("%%time", "%%timeit", "%%capture", "%%prun")
"""Magics of a whole cell below which there is Python."""


def migrate_notebook(text: str, filename: str = "<string>") -> Migration:
    """Rewrite the code cells of a notebook.

    Args:
        text: The notebook, a JSON object.
        filename: Its name, for messages.

    Returns:
        The notebook as it is to be; the lines in the remarks are those of the cells, whose numbers are named.

    Raises:
        ArgumentError: it is no notebook, or its cells are no Python 3.
    """
    try:
        notebook = json.loads(text)
        cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        sources = ["".join(cell["source"]) for cell in cells]
    except (ValueError, KeyError, TypeError) as error:
        raise ArgumentError(f"{filename}: no notebook of format 4") from error
    numbers = [number for number, source in enumerate(sources) if _is_python(source)]
    script = "".join(f"{_BEGINS}{number}\n{_without_magics(sources[number])}\n" for number in numbers)
    migration = migrate_source(script, filename)
    new = {} if any(_BEGINS in source for source in sources) else _cells(migration.text)
    if list(new) != numbers:
        raise ArgumentError(f"{filename}: its cells cannot be told apart; export it as a script")
    remarks = tuple(_in_cell(script, remark) for remark in migration.remarks)
    changed = {number: source for number, source in new.items() if source != sources[number]}
    if not changed:
        return Migration(text, remarks)
    write = _writer(notebook, text)
    for number, source in changed.items():
        cell = cells[number]
        cell["source"] = source if isinstance(cell["source"], str) else source.splitlines(keepends=True)
    return Migration(write(), remarks)


def _is_python(source: str) -> bool:
    return not source.startswith("%%") or source.startswith(_STILL_PYTHON)


def _without_magics(source: str) -> str:
    return "\n".join(_IS_MAGIC.sub(rf"\1{_MAGIC}\2", line) for line in source.split("\n"))


def _cells(script: str) -> dict[int, str]:
    """Return the sources of the cells, by their numbers."""
    cells: dict[int, list[str]] = {}
    lines: list[str] = []
    for line in script.removesuffix("\n").split("\n"):
        if line.strip().startswith(_BEGINS):
            lines = cells.setdefault(int(line.strip().removeprefix(_BEGINS)), [])
        else:
            lines.append(_WAS_MAGIC.sub(r"\1\2", line))
    return {number: "\n".join(lines) for number, lines in cells.items()}


def _in_cell(script: str, remark: Remark) -> Remark:
    before = script.split("\n")[: remark.line]
    begin = max(index for index, line in enumerate(before) if line.startswith(_BEGINS))
    number = int(before[begin].removeprefix(_BEGINS)) + 1
    return replace(remark, line=remark.line - begin - 1, what=f"code cell {number}: {remark.what}")


def _writer(notebook: Any, text: str) -> Any:
    """Return a function that writes the notebook in the manner in which ``text`` was written."""
    end = "\n" if text.endswith("\n") else ""
    for indent, is_ascii in itertools.product((1, 2, 4, None), (False, True)):
        if json.dumps(notebook, indent=indent, ensure_ascii=is_ascii) + end == text:
            return lambda: json.dumps(notebook, indent=indent, ensure_ascii=is_ascii) + end
    return lambda: json.dumps(notebook, indent=1, ensure_ascii=False) + end
