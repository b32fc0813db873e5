"""A summary of a model: a table of its layers as a value, and ``print_summary``, which prints it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from befit.errors import ArgumentError, UnbuiltModelError
from befit.graph.columns import CHAIN, COLUMNS, GRAPH, NAME, blocks_of, checked, readable_bytes
from befit.graph.reading import model_graph
from befit.graph.rows import Row, is_chain, rows_of, shown_layers, weights_of
from befit.graph.table import DEFAULT_LENGTH, DEFAULT_POSITIONS, html_table, natural_ends, plain_lines
from befit.graph.table_rich import rich_lines
from befit.typing import PrintFunction

STYLES = ("plain", "rich")


@dataclass(frozen=True, slots=True)
class Summary:
    """The layers of a model and the number of values in its weights; ``str()`` is the table as text.

    Attributes:
        name: the model's name.
        type: the name of its class.
        rows: its layers, in the order in which data reaches them.
        total_params: values in all weights, each weight once, however many layers share it. The optimizer's
            own variables are not among them.
        trainable_params: those that training changes.
        non_trainable_params: the others.
        is_graph: layers do more than follow each other, so the table shows what they are connected to.
        columns: names of the columns that the table has, if not those that Keras 2 showed.
        total_memory: bytes of all weights, each weight once.
        total_macs: multiply-adds of all calls, as ``Node`` counts them.
        macs_complete: those of every call are known; else there are more than ``total_macs``.
    """

    name: str
    type: str
    rows: tuple[Row, ...]
    total_params: int
    trainable_params: int
    non_trainable_params: int
    is_graph: bool
    columns: tuple[str, ...] | None = None
    total_memory: int = 0
    total_macs: int = 0
    macs_complete: bool = False

    def lines(
        self, line_length: int | None = None, positions: Sequence[float] | None = None
    ) -> Iterator[str]:
        """Yield the lines of the table; the arguments are those of ``print_summary``."""
        _check_length(line_length)
        header, blocks = self._header(), self._blocks()
        if self.columns is None:
            length = line_length or DEFAULT_LENGTH[len(header)]
            default: Sequence[float] = DEFAULT_POSITIONS[len(header)]
        else:  # as wide as what is in them
            ends = natural_ends(header, blocks)
            length = line_length or ends[-1]
            default = [end / ends[-1] for end in ends] if line_length else ends
        given = default if positions is None or len(positions) == 0 else positions
        return plain_lines(header, blocks, self._footer(), length, given)

    def rich_lines(self, line_length: int | None = None, *, colour: bool = False) -> Iterator[str]:
        """Yield the lines of a table with frames, made by the library rich.

        Args:
            line_length: the most characters in a line; longer texts are wrapped.
            colour: whether the lines are for a terminal: with colours, and as wide as it is.

        Raises:
            MissingDependencyError: rich is not installed.
        """
        _check_length(line_length)
        numbers = [False, *(COLUMNS[name].is_number for name in self._columns())]
        yield from rich_lines(
            self._header(), numbers, self._blocks(), self._footer(), line_length, colour=colour
        )

    def to_dict(self) -> dict[str, Any]:
        """Return everything as numbers, strings, lists and dicts, ready for JSON."""
        values = asdict(self)
        values["rows"] = [{**row, "connected_to": list(row["connected_to"])} for row in values["rows"]]
        values["columns"] = list(self._columns())
        return values

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def _repr_html_(self) -> str:
        title = f"{self.name} ({self.type})"
        return html_table(self._header(), self._blocks(), self._footer(), title)

    def _columns(self) -> tuple[str, ...]:
        if self.columns is not None:
            return self.columns
        return GRAPH if self.is_graph else CHAIN

    def _header(self) -> list[str]:
        return [NAME, *(COLUMNS[name].heading for name in self._columns())]

    def _blocks(self) -> list[list[list[str]]]:
        return blocks_of(self.rows, self._columns())

    def _footer(self) -> list[str]:
        lines = [
            f"Total params: {self.total_params:,}",
            f"Trainable params: {self.trainable_params:,}",
            f"Non-trainable params: {self.non_trainable_params:,}",
        ]
        if "memory" in self._columns():
            lines.append(f"Memory of all weights: {readable_bytes(self.total_memory)}")
        if "macs" in self._columns():
            more = "" if self.macs_complete else " and more: those marked ? are not known"
            lines.append(f"Total MACs: {self.total_macs:,}{more}")
        return lines


def _check_length(line_length: int | None) -> None:
    if line_length is not None and line_length < 0:
        raise ArgumentError(f"line_length is {line_length}; write a number of characters, such as 98")


def print_summary(
    model: Any,
    line_length: int | None = None,
    positions: Sequence[float] | None = None,
    print_fn: PrintFunction = print,
    *,
    inputs: Any = None,
    expand_nested: bool = False,
    columns: Sequence[str] | None = None,
    collapse_repeats: bool = False,
    style: str = "plain",
) -> None:
    """Print the layers of a model with their output shapes and numbers of weights.

    Models whose layers do not simply follow each other get a fourth column: what each layer is connected to.
    Text that is too long for its column is cut off.

    Args:
        model: a ``keras.Model``, a ``torch.nn.Module`` or a ``ModelGraph``.
        line_length: total length of the lines, in characters; 65, or 98 with four columns, if not given. With
            ``columns`` it is as long as the text needs, with ``style="rich"`` no longer than the terminal.
        positions: where each column ends: shares of ``line_length`` if the last is at most 1, else
            characters. The default is ``[.45, .85, 1.]``, or ``[.33, .55, .67, 1.]`` with four columns.
        print_fn: called once for every line, without a newline.
        inputs: an example input or its shape, as for ``model_graph``. Without it a PyTorch module shows
            neither shapes nor connections, and a Keras model that is not built yet cannot be shown.
        expand_nested: whether the layers of nested models follow below them, indented by two spaces.
        columns: what to show beside the name of each layer, in this order: ``"output_shape"``, ``"params"``,
            ``"connected_to"``, ``"input_shape"``, ``"trainable"``, ``"dtype"``, ``"memory"`` of its weights,
            ``"macs"`` (multiply-adds; ``?`` if they are not known).
        collapse_repeats: whether layers, or blocks of layers, that are repeated one after the other are shown
            once, with a number of times. The totals stay those of the whole model.
        style: ``"plain"`` text, or a table drawn by the library ``"rich"``, with colours if it is printed on
            a terminal.

    Raises:
        UnbuiltModelError: the layers have no weights and shapes yet, and no ``inputs`` were given.
        ArgumentError: an unknown column or style, fewer ``positions`` than columns, decreasing ones, or some
            with ``style="rich"``.
        GraphError: the model failed on ``inputs``.
        UnsupportedObjectError: ``model`` is no model of these frameworks.
        MissingDependencyError: ``style="rich"``, and rich is not installed.

    Example:
        >>> import keras
        >>> layers = [keras.layers.Dense(4, name="hidden"), keras.layers.Dense(1, name="score")]
        >>> model = keras.Sequential([keras.Input((8,)), *layers])
        >>> print_summary(model, line_length=44, print_fn=lambda line: print(line.rstrip()))
        ____________________________________________
        Layer (type)       Output Shape      Param #
        ============================================
        hidden (Dense)     (None, 4)         36
        ____________________________________________
        score (Dense)      (None, 1)         5
        ============================================
        Total params: 41
        Trainable params: 41
        Non-trainable params: 0
        ____________________________________________

    Source: Keras 2.1 documentation (``keras.utils.print_summary``) and the format it printed.
    """
    if style not in STYLES:
        raise ArgumentError(f"style={style!r} is no style; write 'plain' or 'rich'")
    if style == "rich" and positions is not None:
        raise ArgumentError("positions belongs to style='plain'; rich finds the widths of its columns itself")
    value = summary(
        model,
        inputs=inputs,
        expand_nested=expand_nested,
        columns=columns,
        collapse_repeats=collapse_repeats,
    )
    if style == "rich":
        colour = print_fn is print and sys.stdout.isatty()
        lines = value.rich_lines(line_length, colour=colour)
    else:
        lines = value.lines(line_length, positions)
    for line in lines:
        print_fn(line)


def summary(
    model: Any,
    *,
    inputs: Any = None,
    expand_nested: bool = False,
    columns: Sequence[str] | None = None,
    collapse_repeats: bool = False,
) -> Summary:
    """Return the summary of a model as a value, which shows itself as text and in notebooks as HTML.

    Args:
        model: a ``keras.Model``, a ``torch.nn.Module`` or a ``ModelGraph``.
        inputs: an example input or its shape, as for ``model_graph``.
        expand_nested: whether the layers of nested models have rows of their own.
        columns: what the table shows, as for ``print_summary``; the rows hold everything in any case.
        collapse_repeats: whether repeated layers or blocks of layers have their rows once.

    Raises:
        UnbuiltModelError: the layers have no weights and shapes yet, and no ``inputs`` were given.
        ArgumentError: an unknown column.
        GraphError: the model failed on ``inputs``.
        UnsupportedObjectError: ``model`` is no model of these frameworks.

    Example:
        >>> import keras
        >>> value = summary(keras.Sequential([keras.Input((8,)), keras.layers.Dense(1, name="score")]))
        >>> value.total_params, value.rows[0].output_shape, value.total_macs
        (9, '(None, 1)', 8)
    """
    names = None if columns is None else checked(columns)
    graph = model_graph(model, inputs)
    if not graph.is_built:
        raise UnbuiltModelError(
            f"{graph.name!r} is not built yet, so its layers have no weights and no shapes; call it on data "
            "first, or give an example input or its shape with the batch axis: inputs=(32, 10)"
        )
    shown = list(shown_layers(graph, expand_nested))
    weights = weights_of(graph)
    total, trainable, memory = (sum(numbers) for numbers in zip((0, 0, 0), *weights.values(), strict=True))
    return Summary(
        name=graph.name,
        type=graph.type,
        rows=tuple(rows_of(shown, weights, collapse_repeats=collapse_repeats)),
        total_params=total,
        trainable_params=trainable,
        non_trainable_params=total - trainable,
        is_graph=not all(is_chain(part) for part in {id(part): part for _, part, _ in shown}.values()),
        columns=names,
        total_memory=memory,
        total_macs=sum(node.macs or 0 for node in graph.nodes),
        macs_complete=graph.macs is not None,
    )
