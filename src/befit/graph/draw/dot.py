"""Diagrams in the DOT language of Graphviz, which lays them out itself.

Boxes are records, as Keras 2 wrote them: ``name: Class``, and with shapes
``name: Class\\n|{input:|output:}|{{(None, 8)}|{(None, 4)}}``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from befit.graph.diagram import Box, Diagram
from befit.graph.draw.theme import Theme

_RECORD_SYNTAX = re.compile(r"([\\{}|<>])")
_ENTITY = re.compile(r"&(?=#?\w+;)")  # Graphviz reads those of HTML in every label


def to_dot(diagram: Diagram, rankdir: str, colours: Theme | None = None) -> str:
    """Return ``diagram`` as DOT source, in black and white unless ``colours`` are given."""
    lines = [
        f"digraph {_quoted(_escape_label(diagram.name))} {{",
        f"  graph [rankdir={rankdir}, compound=true{_graph_colours(colours)}];",
        f'  node [shape=record, fontname="Helvetica"{_node_colours(colours)}];',
    ]
    if colours is not None:
        lines.append(f'  edge [color="{colours.edge}"];')
    lines.extend(_statements(diagram, "n", "  ", colours))
    lines.append("}\n")
    return "\n".join(lines)


def _graph_colours(colours: Theme | None) -> str:
    if colours is None:
        return ""
    return f', bgcolor="{colours.background}", fontname="Helvetica", fontcolor="{colours.text}"'


def _node_colours(colours: Theme | None) -> str:
    return "" if colours is None else f', style=filled, fontcolor="{colours.text}"'


def _box_colours(box: Box, colours: Theme | None) -> str:
    if colours is None:
        return ""
    pair = colours.frozen if box.is_frozen else colours.box(box.kind)
    return f', fillcolor="{pair.fill}", color="{pair.border}"'


def _statements(diagram: Diagram, prefix: str, indent: str, colours: Theme | None) -> Iterator[str]:
    """Yield the lines of one level; the boxes inside of box ``n3`` are ``n3_0``, ``n3_1`` …"""
    for number, box in enumerate(diagram.boxes):
        name = f"{prefix}{number}"
        if box.inner is None:
            yield f"{indent}{name} [label={_quoted(_record(box))}{_box_colours(box, colours)}];"
            continue
        yield f"{indent}subgraph cluster_{name} {{"
        yield f"{indent}  label={_quoted(_escape_label(box.title))};"
        if colours is not None:
            yield f'{indent}  style=filled; fillcolor="{colours.frame.fill}"; color="{colours.frame.border}";'
        yield from _statements(box.inner, f"{name}_", indent + "  ", colours)
        yield f"{indent}}}"
    for link in diagram.links:
        source, tail = _end(diagram.boxes[link.source], f"{prefix}{link.source}", leaving=True)
        target, head = _end(diagram.boxes[link.target], f"{prefix}{link.target}", leaving=False)
        clipped = [f"ltail={tail}"] * bool(tail) + [f"lhead={head}"] * bool(head)
        attributes = f" [{', '.join(clipped)}]" if clipped else ""
        yield f"{indent}{source} -> {target}{attributes};"
    if diagram.note is not None:
        yield f"{indent}{prefix}note [shape=plaintext, label={_quoted(_escape_label(diagram.note))}];"


def _end(box: Box, name: str, *, leaving: bool) -> tuple[str, str]:
    """Return the node at one end of a link, and the cluster at whose border the link is to be cut off."""
    cluster = ""
    while box.inner is not None:
        cluster = cluster or f"cluster_{name}"
        number = len(box.inner.boxes) - 1 if leaving else 0
        box, name = box.inner.boxes[number], f"{name}_{number}"
    return name, cluster


def _record(box: Box) -> str:
    """Return the label of a record; line breaks and field borders are its syntax, the rest is escaped."""
    title = _stack(box.parts) if box.parts else _escape_record(box.title)
    if not box.rows:
        return title
    headings = "|".join(_escape_record(row.heading) for row in box.rows)
    values = "|".join(f"{{{_escape_record(_join(row.values))}}}" for row in box.rows)
    return f"{title}\\n|{{{headings}}}|{{{values}}}"


def _stack(parts: tuple[Box, ...]) -> str:
    """Return the titles of a chain as lines, each group that repeats with how often it does."""
    lines = []
    for part in parts:
        titles = [_escape_record(member.title) for member in part.parts or (part,)]
        if part.times > 1:
            repeated = f"\N{MULTIPLICATION SIGN}{part.times:,}"
            titles[-1] += f" (these {len(titles)} {repeated})" if len(titles) > 1 else f" {repeated}"
        lines += titles
    return "\\n".join(lines)


def _join(values: tuple[str, ...]) -> str:
    return values[0] if len(values) == 1 else f"[{', '.join(values)}]"


def _escape_record(text: str) -> str:
    return _RECORD_SYNTAX.sub(r"\\\1", _ENTITY.sub("&amp;", text))


def _escape_label(text: str) -> str:
    return _ENTITY.sub("&amp;", text).replace("\\", "\\\\")


def _quoted(text: str) -> str:
    """Return ``text`` as a quoted string; backslashes in it are in pairs already."""
    return '"' + text.replace('"', '\\"') + '"'
