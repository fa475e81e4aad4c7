"""The stack of blocks of a model: the layers that a residual stream passes, one after another.

No table of architectures: a stack is a list of several modules of one class. What is found is a
proposal; whoever uses it proves it by behaviour (`germ.prefix`, `germ.components`).
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn


def find_blocks(model: nn.Module) -> list[nn.Module]:
    """The blocks of `model`, from the input to the output.

    Of all lists of modules of one class (`ModuleList`; `Sequential` of two or more) that do not lie
    inside another such list, the one that holds most parameters. Attention heads, experts and the
    like, which come in lists inside a block, are so left alone.

    Returns:
        The blocks, `layers.0` first; empty where there is no such list.

    Example:
        >>> net = nn.Sequential(nn.Embedding(5, 3), nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)))
        >>> [type(block).__name__ for block in find_blocks(net)]
        ['Linear', 'Linear']
    """
    return max(_stacks(model), key=_num_parameters, default=[])


def _stacks(module: nn.Module) -> Iterator[list[nn.Module]]:
    """Outermost lists of modules of one class, with parameters."""
    children = list(module.children())
    # A Sequential of one module is a wrapper, a ModuleList of one a model of one layer.
    least = {nn.ModuleList: 1, nn.Sequential: 2}.get(type(module), 0)
    if least and len(children) >= least and len({type(child) for child in children}) == 1:
        if all(_num_parameters([child]) for child in children):
            yield children
            return
    for child in children:
        yield from _stacks(child)


def _num_parameters(modules: list[nn.Module]) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())
