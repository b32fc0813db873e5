"""The source as a worker has it."""

from __future__ import annotations

import pickle
from typing import Any, NamedTuple

_PLAIN_DATA = {"builtins", "collections", "numpy", "torch"}  # modules of types whose whole content was sent


class Changes(NamedTuple):
    """Attributes to set and attributes to remove; sent in one piece, so that what they share stays shared."""

    changed: dict[str, Any]
    gone: list[str]

    @property
    def names(self) -> set[str]:
        """All attributes that it is about."""
        return {*self.changed, *self.gone}

    def apply(self, source: Any, names: set[str]) -> None:
        """Make attributes ``names`` of ``source`` what they are at the loader."""
        for name in names & self.names:
            if name in self.changed:
                vars(source)[name] = self.changed[name]
            else:
                vars(source).pop(name, None)


class SourceCopy:
    """What the loader's source is, whatever code in the worker has done to its copy.

    ``__getitem__`` may make tables and caches of the attributes. They stay as long as nothing changes at the
    loader; when something does, they may be wrong. So the copy is not patched then but made anew: arrays,
    lists and dicts are what was sent, attributes that the worker has added or replaced are not there. Objects
    of other classes that were neither changed nor replaced stay, with the files and caches that they hold.
    """

    def __init__(self, source: Any = None) -> None:
        self.source = source
        self._whole: Any = b""
        self._news: list[tuple[set[str], Any]] = []  # later pickles, and the attributes that they decide
        self._sent: dict[str, Any] = {}

    def take(self, pickled: Any) -> None:
        """Take the pickled source, or pickled ``Changes`` of it."""
        news = pickle.loads(pickled)
        if isinstance(news, Changes):
            self._change(news, pickled)
            return
        self.source, self._whole, self._news = news, pickled, []
        self._sent = dict(getattr(news, "__dict__", {}))

    def _change(self, changes: Changes, pickled: Any) -> None:
        names = changes.names
        self._news = [(left, older) for decided, older in self._news if (left := decided - names)]
        self._news.append((names, pickled))
        source = pickle.loads(self._whole)
        for decided, news in self._news:
            pickle.loads(news).apply(source, decided)
        attributes = vars(source)
        for name, value in vars(self.source).items():
            unchanged = name in attributes and name not in names and self._sent.get(name) is value
            if unchanged and type(value).__module__ not in _PLAIN_DATA:
                attributes[name] = value
        self.source, self._sent = source, dict(attributes)
