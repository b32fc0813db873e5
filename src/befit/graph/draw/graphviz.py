"""Diagrams laid out and drawn by the Graphviz program ``dot``, if the user has it and asks for it."""

from __future__ import annotations

import logging
import shutil
import subprocess

from befit.errors import ArgumentError, GraphError, MissingDependencyError

PROGRAM = "dot"
TIMEOUT = 300.0
"""Seconds; Graphviz needs half a minute for the largest pictures known."""

logger = logging.getLogger(__name__)


def run_dot(source: str, format_name: str, dpi: float) -> bytes:
    """Return what ``dot`` makes of ``source``.

    Args:
        source: in the DOT language.
        format_name: ``"png"``, ``"svg"`` or ``"pdf"``.
        dpi: pixels per inch of a png.

    Raises:
        MissingDependencyError: there is no such program.
        GraphError: it failed, or was not done after ``TIMEOUT`` seconds.
        ArgumentError: it would shrink the picture, as it does with a png of more than 32,767 pixels a side.
    """
    program = shutil.which(PROGRAM)
    if program is None:
        raise MissingDependencyError(
            "engine='dot' needs the program 'dot', which is not on the PATH; install Graphviz "
            "(https://graphviz.org/download), or leave engine='befit', which needs no program"
        )
    command = [program, f"-T{format_name}"]
    if format_name == "png":
        command.append(f"-Gdpi={dpi:g}")
    try:
        done = subprocess.run(
            command, input=source.encode(), capture_output=True, timeout=TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise GraphError(
            f"Graphviz was not done after {TIMEOUT:g} seconds; leave engine='befit', or write a .svg file"
        ) from error
    said = done.stderr.decode(errors="replace").strip()
    if done.returncode or not done.stdout:
        failed = f"failed with status {done.returncode}" if done.returncode else "drew nothing"
        raise GraphError(
            f"Graphviz {failed}: {said or 'it gave no reason'}; leave engine='befit' to draw this model"
        )
    if "too large" in said:
        raise ArgumentError(
            f"Graphviz would shrink the picture ({said}); "
            f"write a .svg file, or pass a smaller dpi than {dpi:g}"
        )
    if said:
        logger.warning("Graphviz: %s", said)
    return done.stdout
