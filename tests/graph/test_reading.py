"""`model_graph` itself: what it takes and what it refuses."""

from __future__ import annotations

import pytest

from befit.errors import UnsupportedObjectError
from befit.graph.model_graph import ModelGraph
from befit.graph.reading import model_graph


def test_graph_is_returned_as_it_is() -> None:
    graph = ModelGraph("net", "Net", "keras", {}, (), (), {})
    assert model_graph(graph) is graph


@pytest.mark.parametrize("thing", [None, 3, "model.keras", [1, 2]])
def test_other_things_are_refused(thing: object) -> None:
    """The message says what it got and what it takes."""
    with pytest.raises(UnsupportedObjectError, match=r"give a keras\.Model or a torch\.nn\.Module") as caught:
        model_graph(thing)
    assert type(thing).__name__ in str(caught.value)


def test_array_of_another_framework_is_refused() -> None:
    import jax.numpy as jnp

    with pytest.raises(UnsupportedObjectError, match="no model"):
        model_graph(jnp.zeros(3))
