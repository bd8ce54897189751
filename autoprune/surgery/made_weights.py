"""Weights that a module makes of others each time it runs: of a mask, a norm, a parametrisation. Knows torch's ways to
say so; not what they are good for.

What a slice is worth is seen in the weight that is multiplied with, and not in what it is made of: there may be large
values under a mask.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from autoprune.surgery.clone import clone
from autoprune.surgery.layout import Layout


@dataclass(frozen=True)
class Made:
    """layouts: one a dimension of the weight; ingredients: names of the parameters that it is made of."""

    layouts: tuple[Layout, ...]
    ingredients: frozenset[str]


@dataclass(frozen=True)
class _Maker:
    """`hook` makes the attribute before the module runs; without one it is made when it is asked for."""

    module: nn.Module
    attribute: str
    hook: Any = None


def ingredients(model: nn.Module) -> dict[str, frozenset[str]]:
    """By name of a weight that is made of others, the parameters of which."""
    parameters = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    found: dict[str, frozenset[str]] = {}
    for name, maker in _makers(model):
        path = name.removesuffix(maker.attribute)
        stem = f"{path}{maker.attribute}_" if maker.hook else f"{path}parametrizations.{maker.attribute}."
        found[name] = frozenset(each for each in parameters if each.startswith(stem))
    return found


def made_weights(model: nn.Module) -> dict[str, Tensor]:
    """Each of them as it is in eval mode, by name; the model itself is left alone."""
    if next(_makers(model), None) is None:
        return {}
    with torch.no_grad():
        return {name: _made(maker).detach() for name, maker in _makers(clone(model, lambda tensor: tensor).eval())}


def as_run(model: nn.Module, name: str) -> Tensor:
    """One of them in a model that has just run: what that left in an attribute, as it is."""
    path, _, attribute = name.rpartition(".")
    found: Tensor = getattr(model.get_submodule(path), attribute)
    return found


def _made(maker: _Maker) -> Tensor:
    if maker.hook:
        maker.hook(maker.module, ())
    found: Tensor = getattr(maker.module, maker.attribute)
    return found


def _makers(model: nn.Module) -> Iterator[tuple[str, _Maker]]:
    for path, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            continue
        makers = [
            _Maker(module, hook._tensor_name if isinstance(hook, BasePruningMethod) else hook.name, hook)
            for hook in module._forward_pre_hooks.values()
            if isinstance(hook, BasePruningMethod | SpectralNorm | WeightNorm)
        ]
        makers += [_Maker(module, attribute) for attribute in getattr(module, "parametrizations", {})]
        for maker in makers:
            yield (f"{path}.{maker.attribute}" if path else maker.attribute), maker
