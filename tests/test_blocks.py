"""The stack of blocks, found among everything else that comes in lists."""

from __future__ import annotations

import pytest
from torch import nn

from germ.blocks import find_blocks


class Expert(nn.Linear):
    """One of several in a block."""

    def __init__(self) -> None:
        super().__init__(8, 8)


class Block(nn.Module):
    """A block with a list of its own inside, as large as it pleases."""

    def __init__(self, num_experts: int = 4) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.experts = nn.ModuleList(Expert() for _ in range(num_experts))


class Decoder(nn.Module):
    """A model with several lists of modules."""

    def __init__(self, num_blocks: int) -> None:
        super().__init__()
        self.adapters = nn.ModuleList(nn.Linear(8, 2) for _ in range(5))
        self.inside = nn.ModuleDict({"layers": nn.ModuleList(Block() for _ in range(num_blocks))})
        self.activations = nn.ModuleList(nn.GELU() for _ in range(9))
        self.head = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 300))


@pytest.mark.parametrize("num_blocks", [1, 3])
def test_the_blocks_are_the_outermost_list_that_holds_most(num_blocks):
    model = Decoder(num_blocks)
    assert find_blocks(model) == list(model.inside["layers"].children())
    assert find_blocks(nn.Sequential(model)) == find_blocks(model), "a wrapper is no block"


def test_a_list_of_different_modules_is_no_stack():
    assert find_blocks(nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2))) == []


def test_a_model_without_lists_has_no_blocks():
    assert find_blocks(nn.Linear(2, 2)) == []


def test_a_deep_linear_network_is_a_stack():
    model = nn.Sequential(*(nn.Linear(3, 3) for _ in range(4)))
    assert find_blocks(model) == list(model)
