"""Scripts and notebooks on disk."""

from __future__ import annotations

import io
import os
import shutil
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from befit._internal.staging import part_file
from befit.errors import ArgumentError
from befit.migrate.migration import Migration, migrate_source
from befit.migrate.notebook import migrate_notebook

_SUFFIXES = (".py", ".ipynb")


@dataclass(frozen=True)
class MigratedFile:
    """A file, and what becomes of it."""

    path: Path
    before: str
    migration: Migration
    encoding: str

    @property
    def is_changed(self) -> bool:
        """Whether anything is rewritten."""
        return self.before != self.migration.text

    def write(self) -> None:
        """Replace the file, whole or not at all; its permissions stay.

        Raises:
            OSError: it cannot be written.
        """
        target = self.path.resolve()  # a link stays one
        with part_file(target) as part:
            part.write_bytes(self.migration.text.encode(self.encoding))
            shutil.copymode(target, part)
            os.replace(part, target)


def migrate_file(path: Path) -> MigratedFile:
    """Read a file and say what becomes of it. Nothing is written.

    Raises:
        OSError: it cannot be read.
        ArgumentError: it is no Python 3 source, or no notebook.
    """
    content = path.read_bytes()
    is_notebook = path.suffix == ".ipynb"
    try:
        encoding = "utf-8" if is_notebook else tokenize.detect_encoding(io.BytesIO(content).readline)[0]
        text = content.decode(encoding)
    except (SyntaxError, UnicodeDecodeError) as error:
        raise ArgumentError(f"{path}: no text ({error})") from error
    migrate = migrate_notebook if is_notebook else migrate_source
    return MigratedFile(path, text, migrate(text, str(path)), encoding)


def scripts(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield the files among ``paths``, and the scripts and notebooks in the folders among them.

    Folders whose name begins with a dot, and virtual environments, are left out.
    """
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        for folder, names, files in os.walk(path):
            names[:] = sorted(
                name
                for name in names
                if not name.startswith(".") and not Path(folder, name, "pyvenv.cfg").exists()
            )
            yield from (Path(folder, name) for name in sorted(files) if name.endswith(_SUFFIXES))
