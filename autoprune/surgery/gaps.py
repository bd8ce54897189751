"""Places that dropped layers leave in lists of layers. Knows how to close them and to open them again; not why.

A layer that passes its input on and stands in a list may as well not be there, and only then can a configuration that
counts layers say so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import nn

from autoprune.surgery.layers import Drop

#: By name of a list, the places in the dense model's that were dropped.
Gaps = Mapping[str, tuple[int, ...]]


def gaps_of(model: nn.Module, drops: Iterable[Drop]) -> dict[str, tuple[int, ...]]:
    """Where layers that were dropped, and passed their input on, stand in lists. drops: all that were dropped."""
    found: dict[str, tuple[int, ...]] = {}
    dropped = {drop.module for drop in drops if not drop.zeros}
    inner = {name for name in dropped if any(name.startswith(f"{other}.") for other in dropped)}
    for name in sorted(dropped - inner):
        home, _, place = name.rpartition(".")
        if home and type(model.get_submodule(home)) is nn.ModuleList:
            found[home] = tuple(sorted((*found.get(home, ()), int(place))))
    return found


def close(model: nn.Module, gaps: Gaps) -> None:
    """Take the stand-ins of dropped layers out of their lists, in place; inner lists first, outer ones rename them."""
    for name in sorted(gaps, key=lambda each: -each.count(".")):
        layers = model.get_submodule(name)
        kept = [layer for place, layer in enumerate(layers._modules.values()) if place not in gaps[name]]
        layers._modules = dict(zip(map(str, range(len(kept))), kept, strict=True))


def reopened(name: str, gaps: Gaps) -> str:
    """The name that a tensor of a model without gaps has where they are open."""
    steps = name.split(".")
    for depth in range(1, len(steps)):
        for place in gaps.get(".".join(steps[:depth]), ()):
            if int(steps[depth]) >= place:
                steps[depth] = str(int(steps[depth]) + 1)
    return ".".join(steps)
