"""What is put around the data of ``fit``: a ``Loader``, a ``Stream``, or what ``as_batches`` makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import libcst as cst

from befit.migrate.calls import Build, call, code, original
from befit.migrate.kinds import READ_ONCE, Kind
from befit.migrate.names_needed import NamesNeeded
from befit.migrate.source import Source

_DEFAULTS = {
    "workers": ("1", "None"),
    "max_queue_size": ("10", "0", "None"),  # 0: any number of batches
    "use_multiprocessing": ("False", "None"),
}
"""What need not be written, because Keras 2 and befit mean the same without it."""
_BATCHES_AHEAD = 4
"""``prefetch`` of a ``Loader``, for each worker."""
_SHUFFLED = {"True": "True", "False": None, "0": None, "1": "True"}


@dataclass(frozen=True)
class _Given:
    """An argument of the call, and its source."""

    index: int
    text: str


class Loading:
    """The arguments of one call that say how its data is loaded."""

    def __init__(
        self,
        source: Source,
        arguments: Mapping[str, int],
        values: list[cst.BaseExpression],
        names: NamesNeeded,
    ) -> None:
        self._names = names
        self._given = {
            name: _Given(index, text)
            for name, index in arguments.items()
            if name in _DEFAULTS and (text := source.code(values[index])) not in _DEFAULTS[name]
        }

    @property
    def is_default(self) -> bool:
        """Whether the data is loaded as Keras 2 did if it was not told otherwise."""
        return not self._given

    def around(self, kind: Kind, data: Build, shuffle: str | None = None) -> Build:
        """Return the data, loaded as the call asks.

        Args:
            kind: What the data is.
            data: The data.
            shuffle: The source of what says whether to shuffle batches; ``None``: do not.
        """
        if kind is Kind.LOADED:
            return data
        if kind in READ_ONCE:
            return self._stream(data)
        shuffle = None if shuffle is None else _SHUFFLED.get(shuffle, shuffle)
        prefetch = self._prefetch_of_each() if kind is Kind.SEQUENCE and shuffle is None else None
        if prefetch is not None:
            options = {"workers": self._value("workers", "1"), **self._engine()}
            if prefetch != _BATCHES_AHEAD:
                options["prefetch"] = code(str(prefetch))
            return call(self._names.name("befit.Loader"), data, **options)
        options = {"workers": self._value("workers")} if "workers" in self._given else {}
        options |= self._engine()
        if "max_queue_size" in self._given:
            options["prefetch"] = self._value("max_queue_size")
        if shuffle is not None:
            options["shuffle"] = code(shuffle)
        return call(self._names.name("befit.loading.as_batches"), data, **options)

    def _stream(self, data: Build) -> Build:
        options = {}
        if self._text("workers") == "0":
            options["prefetch"] = code("0")
        elif "max_queue_size" in self._given:
            options["prefetch"] = self._value("max_queue_size")
        return call(self._names.name("befit.loading.Stream"), data, **options)

    def _engine(self) -> dict[str, Build]:
        text = self._text("use_multiprocessing")
        if text is None or self._text("workers") == "0":
            return {}
        if text == "True":
            return {"engine": code('"processes"')}
        return {"engine": code(f'"processes" if {text} else "auto"')}

    def _prefetch_of_each(self) -> int | None:
        """Return how many batches a ``Loader`` is to have ahead for each worker, if that can be computed."""
        in_all = self._text("max_queue_size")
        if in_all is None:
            return _BATCHES_AHEAD
        workers = self._text("workers") or "1"
        if not (in_all.isdecimal() and workers.isdecimal()) or int(in_all) < 1:
            return None
        return max(1, int(in_all) // max(1, int(workers)))  # as as_batches shares them out

    def _text(self, name: str) -> str | None:
        return self._given[name].text if name in self._given else None

    def _value(self, name: str, default: str = "") -> Build:
        return original(self._given[name].index) if name in self._given else code(default)
