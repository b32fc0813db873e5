"""A call of a method of a model: its arguments by their names of today."""

from __future__ import annotations

import libcst as cst

from befit.legacy.names import LOADING, SAMPLES, OldMethod
from befit.migrate.calls import Build, original
from befit.migrate.kinds import Kind, Kinds
from befit.migrate.loading import Loading
from befit.migrate.names_needed import NamesNeeded
from befit.migrate.source import Source

_SIGNATURES = {
    "fit_generator": (
        "generator steps_per_epoch epochs verbose callbacks validation_data validation_steps class_weight "
        "max_queue_size workers use_multiprocessing shuffle initial_epoch"
    ),
    "evaluate_generator": "generator steps max_queue_size workers use_multiprocessing",
    "predict_generator": "generator steps max_queue_size workers use_multiprocessing verbose",
    "fit": (
        "x y batch_size epochs verbose callbacks validation_split validation_data shuffle class_weight "
        "sample_weight initial_epoch steps_per_epoch validation_steps"
    ),
    "evaluate": "x y batch_size verbose sample_weight steps",
    "predict": "x batch_size verbose steps",
}
"""The arguments that Keras 2.1 takes by position."""


class CannotRewriteError(Exception):
    """A call that has to be left; says what is wrong and what to do."""

    def __init__(self, what: str, instead: str) -> None:
        super().__init__(f"{what}; {instead}")
        self.what = what
        self.instead = instead


class MethodCall:
    """The arguments of a call, under the names that Keras 3 has for them.

    Args:
        source: The file.
        kinds: What expressions in it are.
        names: What of befit it needs.
        call: The call.
        row: The method.
    """

    def __init__(
        self, source: Source, kinds: Kinds, names: NamesNeeded, call: cst.Call, row: OldMethod
    ) -> None:
        self.source = source
        self.kinds = kinds
        self.names = names
        self.row = row
        self.values = [argument.value for argument in call.args]
        self.has_stars = any(argument.star for argument in call.args)
        self.indices: dict[str, int] = {}
        """The position of each argument, in their order."""
        self.keywords: list[str | None] = []
        """What the call calls each argument."""
        self.counts_samples: set[str] = set()
        """Names of those that count samples instead of batches."""
        positional = _SIGNATURES[row.name].split()
        for index, argument in enumerate(call.args):
            given = None if argument.keyword is None else argument.keyword.value
            self.keywords.append(given)
            if given is None:
                if argument.star or index >= len(positional):
                    self.has_stars = True  # or more than Keras 2 takes
                    continue
                given = positional[index]
            name = LOADING.get(given) or row.arguments.get(given) or given
            self.indices[name] = index
            if given in SAMPLES:
                self.counts_samples.add(name)
        self.loading = Loading(source, self.indices, self.values, names)

    @property
    def is_spelled_old(self) -> bool:
        """Whether it has arguments that are gone."""
        return any(name is not None and name in self.row.arguments for name in self.keywords)

    def value(self, name: str) -> cst.BaseExpression | None:
        """Return an argument; ``None``: it is not given, or as ``None``."""
        if name not in self.indices:
            return None
        value = self.values[self.indices[name]]
        return None if isinstance(value, cst.Name) and value.value == "None" else value

    def text(self, name: str) -> str | None:
        """Return the source of an argument; ``None``: it is not given, or as ``None``."""
        value = self.value(name)
        return None if value is None else self.source.code(value)

    def kind(self, name: str) -> Kind:
        """Return what an argument is."""
        value = self.value(name)
        return Kind.UNKNOWN if value is None else self.kinds.kind(value)

    def original(self, name: str) -> Build:
        """Return an argument as it is."""
        return original(self.indices[name])
