"""What becomes of a script: a value, and the function that computes it."""

from __future__ import annotations

from dataclasses import dataclass

from befit._internal.optional import require
from befit.errors import ArgumentError


@dataclass(frozen=True, order=True)
class Remark:
    """Something that was left as it is, because it needs a hand."""

    line: int
    """The line in the script as it was, from 1."""
    what: str
    """What cannot be rewritten."""
    instead: str
    """What to do, or to write."""

    def __str__(self) -> str:
        return f"{self.line}: {self.what}; {self.instead}"


@dataclass(frozen=True)
class Migration:
    """What becomes of a script."""

    text: str
    """The script as it is to be; the same as before, where nothing has to be rewritten."""
    remarks: tuple[Remark, ...] = ()
    """What is left to be done by hand, in the order of the lines."""


def migrate_source(text: str, filename: str = "<string>") -> Migration:
    """Rewrite a script for Keras 2 so that it runs on Keras 3 with befit.

    Imports and uses of the names of Keras 2's ``keras.utils`` become those of befit; ``fit_generator`` and
    its likes become ``fit`` with a ``Loader`` or a ``Stream``. What is not concerned stays as it is, byte for
    byte, comments and formatting included. What cannot be rewritten without guessing is left, and remarked.
    To migrate the result again changes nothing.

    Args:
        text: The script. Nothing in it is run.
        filename: Its name, for messages.

    Raises:
        ArgumentError: ``text`` is no Python 3 source.
        MissingDependencyError: libcst is not installed.

    Example:
        >>> from befit.migrate import migrate_source
        >>> print(migrate_source("from keras.utils.io_utils import HDF5Matrix as H").text)
        from befit import HDF5Matrix as H

    Source: Keras 2.0 to 2.3, ``keras.utils`` and ``keras.Model``.
    """
    libcst = require("libcst", extra="migrate", purpose="migrating a script")
    from befit.migrate.script import migrate_module  # needs libcst

    try:
        return migrate_module(libcst.parse_module(text))
    except libcst.ParserSyntaxError as error:
        first = error.message.strip().splitlines()[0]
        raise ArgumentError(
            f"{filename}:{error.raw_line}: no Python 3 source ({first}); a script for Python 2 has to be "
            "converted first"
        ) from error
    except RecursionError as error:
        raise ArgumentError(f"{filename}: nested too deeply to be read") from error
