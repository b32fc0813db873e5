"""A summary of a model: a table of its layers as a value, and ``print_summary``, which prints it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from befit.errors import ArgumentError, UnbuiltModelError
from befit.graph.model_graph import Layer, ModelGraph, Node
from befit.graph.reading import model_graph
from befit.graph.table import DEFAULT_LENGTH, DEFAULT_POSITIONS, html_table, plain_lines
from befit.typing import PrintFunction

HEADER = ("Layer (type)", "Output Shape", "Param #", "Connected to")


@dataclass(frozen=True, slots=True)
class Row:
    """One layer.

    Attributes:
        name: the layer's name; for PyTorch its attribute path.
        type: the name of its class.
        output_shape: such as ``"(None, 10)"``; a list for several outputs; ``"multiple"`` if it was called on
            different shapes; ``"multiple"`` (Keras) or ``"?"`` (PyTorch) if the shape is not known.
        params: values in its weights, trainable or not; a weight that two layers share counts in both rows.
        connected_to: what goes in, as ``"layer[call][output]"``, numbers counted from 0 as Keras does.
        depth: 0 for the layers of the model itself, 1 for those of a model nested in it, and so on.
        built: the weights exist.
    """

    name: str
    type: str
    output_shape: str
    params: int
    connected_to: tuple[str, ...]
    depth: int
    built: bool


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
    """

    name: str
    type: str
    rows: tuple[Row, ...]
    total_params: int
    trainable_params: int
    non_trainable_params: int
    is_graph: bool

    def lines(
        self, line_length: int | None = None, positions: Sequence[float] | None = None
    ) -> Iterator[str]:
        """Yield the lines of the table; the arguments are those of ``print_summary``."""
        columns = 4 if self.is_graph else 3
        length = line_length or DEFAULT_LENGTH[columns]
        if length < 0:
            raise ArgumentError(f"line_length is {line_length}; write a number of characters, such as 98")
        if positions is None or len(positions) == 0:
            positions = DEFAULT_POSITIONS[columns]
        return plain_lines(HEADER[:columns], self._blocks(columns), self._footer(), length, positions)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as numbers, strings, lists and dicts, ready for JSON."""
        values = asdict(self)
        values["rows"] = [{**row, "connected_to": list(row["connected_to"])} for row in values["rows"]]
        return values

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def _repr_html_(self) -> str:
        columns = 4 if self.is_graph else 3
        title = f"{self.name} ({self.type})"
        return html_table(HEADER[:columns], self._blocks(columns), self._footer(), title)

    def _blocks(self, columns: int) -> list[list[list[str]]]:
        blocks = []
        for row in self.rows:
            name = f"{'  ' * row.depth}{row.name} ({row.type})"
            params = str(row.params) if row.built else "unbuilt"
            first, *others = row.connected_to or ("",)
            block = [[name, row.output_shape, params, first], *(["", "", "", other] for other in others)]
            blocks.append([cells[:columns] for cells in (block if columns == 4 else block[:1])])
        return blocks

    def _footer(self) -> list[str]:
        return [
            f"Total params: {self.total_params:,}",
            f"Trainable params: {self.trainable_params:,}",
            f"Non-trainable params: {self.non_trainable_params:,}",
        ]


def print_summary(
    model: Any,
    line_length: int | None = None,
    positions: Sequence[float] | None = None,
    print_fn: PrintFunction = print,
    *,
    inputs: Any = None,
    expand_nested: bool = False,
) -> None:
    """Print the layers of a model with their output shapes and numbers of weights.

    Models whose layers do not simply follow each other get a fourth column: what each layer is connected to.
    Text that is too long for its column is cut off.

    Args:
        model: a ``keras.Model``, a ``torch.nn.Module`` or a ``ModelGraph``.
        line_length: total length of the lines, in characters; 65, or 98 with four columns, if not given.
        positions: where each column ends: shares of ``line_length`` if the last is at most 1, else
            characters. The default is ``[.45, .85, 1.]``, or ``[.33, .55, .67, 1.]`` with four columns.
        print_fn: called once for every line, without a newline.
        inputs: an example input or its shape, as for ``model_graph``. Without it a PyTorch module shows
            neither shapes nor connections, and a Keras model that is not built yet cannot be shown.
        expand_nested: whether the layers of nested models follow below them, indented by two spaces.

    Raises:
        UnbuiltModelError: the layers have no weights and shapes yet, and no ``inputs`` were given.
        ArgumentError: fewer ``positions`` than columns, or decreasing ones.
        GraphError: the model failed on ``inputs``.
        UnsupportedObjectError: ``model`` is no model of these frameworks.

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
    for line in summary(model, inputs=inputs, expand_nested=expand_nested).lines(line_length, positions):
        print_fn(line)


def summary(model: Any, *, inputs: Any = None, expand_nested: bool = False) -> Summary:
    """Return the summary of a model as a value, which shows itself as text and in notebooks as HTML.

    Args:
        model: a ``keras.Model``, a ``torch.nn.Module`` or a ``ModelGraph``.
        inputs: an example input or its shape, as for ``model_graph``.
        expand_nested: whether the layers of nested models have rows of their own.

    Raises:
        UnbuiltModelError: the layers have no weights and shapes yet, and no ``inputs`` were given.
        GraphError: the model failed on ``inputs``.
        UnsupportedObjectError: ``model`` is no model of these frameworks.

    Example:
        >>> import keras
        >>> value = summary(keras.Sequential([keras.Input((8,)), keras.layers.Dense(1, name="score")]))
        >>> value.total_params, value.rows[0].output_shape
        (9, '(None, 1)')
    """
    graph = model_graph(model, inputs)
    if not graph.is_built:
        raise UnbuiltModelError(
            f"{graph.name!r} is not built yet, so its layers have no weights and no shapes; call it on data "
            "first, or give an example input or its shape with the batch axis: inputs=(32, 10)"
        )
    counts = {key: parameter.count for key, parameter in graph.parameters.items()}
    total = sum(counts.values())
    trainable = sum(counts[key] for key, parameter in graph.parameters.items() if parameter.trainable)
    shown = list(_graphs_and_layers(graph, expand_nested))
    return Summary(
        name=graph.name,
        type=graph.type,
        rows=tuple(_rows(shown, counts)),
        total_params=total,
        trainable_params=trainable,
        non_trainable_params=total - trainable,
        is_graph=not all(_is_chain(part) for part in {id(part): part for _, part, _ in shown}.values()),
    )


def _graphs_and_layers(graph: ModelGraph, expand_nested: bool) -> Iterator[tuple[int, ModelGraph, Layer]]:
    """Yield ``(depth, graph, layer)`` for each row, those of a nested model after its own."""
    stack = [(graph, iter(graph.layers.values()))]
    while stack:
        graph, layers = stack[-1]
        layer = next(layers, None)
        if layer is None:
            stack.pop()
        elif not _is_hidden(graph, layer):
            yield len(stack) - 1, graph, layer
            if expand_nested and layer.inner is not None:
                stack.append((layer.inner, iter(layer.inner.layers.values())))


def _is_hidden(graph: ModelGraph, layer: Layer) -> bool:
    """A Sequential lists what was added to it; its input is no layer of its own there."""
    return graph.is_sequential and layer.is_input


def _rows(shown: list[tuple[int, ModelGraph, Layer]], counts: dict[int, int]) -> Iterator[Row]:
    connections: dict[int, dict[str, list[str]]] = {}
    calls: dict[int, dict[str, list[Node]]] = {}
    for depth, graph, layer in shown:
        if id(graph) not in calls:
            calls[id(graph)] = _calls_by_layer(graph)
            connections[id(graph)] = _connections_by_layer(graph)
        yield Row(
            name=layer.name,
            type=layer.type,
            output_shape=_output_shape(graph, calls[id(graph)][layer.key]),
            params=sum(counts[key] for key in layer.parameters),
            connected_to=tuple(connections[id(graph)][layer.key]),
            depth=depth,
            built=layer.built,
        )


def _calls_by_layer(graph: ModelGraph) -> dict[str, list[Node]]:
    calls: dict[str, list[Node]] = {key: [] for key in graph.layers}
    for node in sorted(graph.nodes, key=lambda node: node.call):
        calls[node.layer].append(node)
    return calls


def _connections_by_layer(graph: ModelGraph) -> dict[str, list[str]]:
    connections: dict[str, list[str]] = {key: [] for key in graph.layers}
    edges = sorted(graph.edges, key=lambda edge: (graph.nodes[edge.target].call, edge.target, edge.input))
    for edge in edges:
        source = graph.nodes[edge.source]
        layer = graph.layer_of(source)
        if not _is_hidden(graph, layer):
            text = f"{layer.name}[{source.call}][{edge.output}]"
            connections[graph.nodes[edge.target].layer].append(text)
    return connections


def _output_shape(graph: ModelGraph, calls: list[Node]) -> str:
    shapes = {tuple(spec.shape for spec in node.outputs) for node in calls}
    if len(shapes) > 1:
        return "multiple"
    (known,) = shapes or {()}
    if not known or None in known:
        return "multiple" if graph.framework == "keras" else "?"  # the word that Keras 2 had for it
    return str(known[0] if len(known) == 1 else list(known))


def _is_chain(graph: ModelGraph) -> bool:
    """Return whether the layers follow each other, each called once; an untraced model is shown as if so."""
    if graph.is_sequential or not graph.is_traced:
        return True
    followed = {edge.source for edge in graph.edges}
    fed = {edge.target for edge in graph.edges}
    called = {node.layer for node in graph.nodes}
    links = len(graph.nodes) - 1
    return len(graph.edges) == len(followed) == len(fed) == links and len(called) == len(graph.nodes)
