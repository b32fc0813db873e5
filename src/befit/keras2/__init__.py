"""Importing this runs scripts that were written for Keras 2 on Keras 3: their old names are there again.

``import befit.keras2`` installs them, whether Keras is imported already or not; ``uninstall()`` takes them
away again. ``python -m befit.keras2 script.py`` and ``befit run script.py`` run a script that way, unchanged.
What stands for what is one table, ``befit.legacy.names``; ``befit migrate`` rewrites scripts by it.
"""

from befit.keras2.hints import Keras2Hint
from befit.keras2.installation import install, is_installed, uninstall

__all__ = ["Keras2Hint", "install", "is_installed", "uninstall"]

install()  # what this package is imported for
