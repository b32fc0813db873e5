"""`print_summary` and `summary` of PyTorch modules: the same table."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from befit.graph.summary import print_summary, summary

TABLE = """\
__________________________________________________________________________________________________
Layer (type)                    Output Shape         Param #     Connected to                     
==================================================================================================
x (Input)                       (None, 8)            0                                            
__________________________________________________________________________________________________
block.0 (Linear)                (None, 8)            72          x[0][0]                          
                                                                 block.1[0][0]                    
__________________________________________________________________________________________________
block.1 (ReLU)                  (None, 8)            0           block.0[0][0]                    
                                                                 block.0[1][0]                    
__________________________________________________________________________________________________
add (add)                       (None, 8)            0           block.1[1][0]                    
                                                                 x[0][0]                          
==================================================================================================
Total params: 72
Trainable params: 72
Non-trainable params: 0
__________________________________________________________________________________________________
"""  # noqa: W291


class Twice(nn.Module):
    """A block that is called twice, and a connection around it."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Linear(8, 8), nn.ReLU())

    def forward(self, x: Any) -> Any:
        return self.block(self.block(x)) + x


def test_table_of_a_module() -> None:
    """Names are attribute paths, calls of a shared module are numbered, shapes have any batch size."""
    lines: list[str] = []
    print_summary(Twice(), print_fn=lines.append, inputs=(4, 8))
    assert lines == TABLE.splitlines()


def test_stack_hides_its_input() -> None:
    model = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
    value = summary(model, inputs=(1, 8))
    assert [row.name for row in value.rows] == ["0", "1", "2"]
    assert [row.output_shape for row in value.rows] == ["(None, 4)", "(None, 4)", "(None, 2)"]
    assert not value.is_graph


def test_stack_with_a_branch_inside_is_a_graph() -> None:
    """A Sequential of PyTorch may hold anything."""
    value = summary(nn.Sequential(Twice(), nn.Linear(8, 2)), inputs=(1, 8))
    assert value.is_graph
    assert [row.name for row in value.rows] == ["input", "0.block.0", "0.block.1", "0.add", "1"]


def test_without_inputs_shapes_are_not_known() -> None:
    value = summary(Twice())
    assert [(row.name, row.output_shape, row.params) for row in value.rows] == [
        ("block.0", "?", 72),
        ("block.1", "?", 0),
    ]
    assert not value.is_graph


def test_module_called_on_different_shapes() -> None:
    class Sizes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dense = nn.Linear(4, 4)

        def forward(self, x: Any) -> Any:
            return self.dense(x), self.dense(x[0])

    (row,) = (row for row in summary(Sizes(), inputs=(2, 3, 4)).rows if row.name == "dense")
    assert row.output_shape == "multiple"


def test_shared_and_tied_weights_count_once() -> None:
    """What counting by module gets wrong: one Linear in two places, one weight in two modules."""
    shared = nn.Linear(8, 8)
    assert summary(nn.Sequential(shared, nn.ReLU(), shared)).total_params == 72
    tied = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 10, bias=False))
    tied[1].weight = tied[0].weight
    value = summary(tied, inputs=torch.zeros(2, 5, dtype=torch.long))
    assert value.total_params == sum(parameter.numel() for parameter in tied.parameters()) == 40
    assert [row.params for row in value.rows] == [40, 40]
