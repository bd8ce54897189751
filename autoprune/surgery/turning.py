"""Another basis for what is written and read in one: the model computes the same. Knows bases and tensors, and the
proof that each of them is free; not which basis is a good one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

import torch
from torch import Tensor, nn

from autoprune.surgery.bases import Basis, Block
from autoprune.surgery.find import twin
from autoprune.surgery.results import Results

#: Largest relative change that another basis is allowed to cause by rounding.
TOLERANCE: Final = 1e-3
#: A block with T, (axes, axes), for what is written, and T^-T for what that is multiplied with.
Turn = tuple[Block, Tensor, Tensor]


def turned(tensors: Mapping[str, Tensor], turns: Iterable[Turn]) -> dict[str, Tensor]:
    """Tensors in other bases, by name; those that change alone. Computed in float64."""
    changed: dict[str, Tensor] = {}
    for block, change, contrary in turns:
        for side, matrix in ((block.writes, change), (block.against, contrary), (block.reads, contrary)):
            for rows in side:
                for name, dim in ((rows.weight, rows.dim), (rows.bias, 0)):
                    if name:
                        if name not in changed:
                            changed[name] = tensors[name].detach().to("cpu", torch.float64, copy=True)
                        whole, places = changed[name].movedim(dim, 0), torch.tensor(rows.places)
                        whole[places] = torch.tensordot(matrix, whole[places], 1)
    return {name: each.to(tensors[name]) for name, each in changed.items()}


def proven(model: nn.Module, bases: Mapping[str, Basis], run: Callable[[nn.Module], Any]) -> dict[str, Basis]:
    """The same bases; those that change the results where they are turned are not free.

    Args:
        model: Neither run nor changed.
        bases: By group.
        run: Runs a model on its example inputs.
    """
    free = [name for name, each in bases.items() if each.free]
    if not free:
        return dict(bases)
    fixed = free if any(each.is_meta for each in model.parameters()) else _differing(model, bases, free, run)
    return {name: replace(each, free=each.free and name not in fixed) for name, each in bases.items()}


def _differing(
    model: nn.Module, bases: Mapping[str, Basis], names: list[str], run: Callable[[nn.Module], Any]
) -> list[str]:
    expected = Results.of(run, twin(model, meta=False)[0].eval())

    def differ(names: list[str]) -> list[str]:
        other, tensors = twin(model, meta=False)
        drawn = torch.Generator().manual_seed(0)
        turns = [_drawn(block, drawn) for name in names for block in bases[name].blocks]
        with torch.no_grad():
            for name, each in turned(tensors, turns).items():
                tensors[name].copy_(each)
        found = Results.of(run, other.eval())
        if expected is not None and found is not None and not found.differ(expected, TOLERANCE):
            return []
        if len(names) == 1:
            return names
        middle = len(names) // 2
        return [*differ(names[:middle]), *differ(names[middle:])]

    return differ(names)


def _drawn(block: Block, generator: torch.Generator) -> Turn:
    """A change of basis that is no rotation, and far from singular."""
    size = len(block.slices)
    basis, _ = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))
    lengths = 0.5 + torch.rand(size, generator=generator, dtype=torch.float64)
    return block, lengths[:, None] * basis, basis / lengths[:, None]
