"""Layers whose results compare with those of models that were cut. Knows modules and layouts; not what is compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from autoprune.finetuning.distillers import Layer
from autoprune.finetuning.watching import shapes
from autoprune.surgery import Traced
from autoprune.surgery.contractions import Contraction
from autoprune.surgery.find import named_tensors
from autoprune.surgery.layout import size


def layers_of(model: nn.Module, traced: Traced, run: Callable[[], Any]) -> tuple[Layer, ...]:
    """Modules that are one sum of products each, convolutions and linear layers, in the order in which they run.

    Args:
        model: The dense one.
        traced: Its groups.
        run: Runs it on one batch.
    """
    found = dict(_modules(model, traced))
    layers = []
    for name, shape in shapes(model, found, run).items():
        contraction = found[name]
        dim = 1 if contraction.stride else len(shape) - 1
        layout = traced.layouts[contraction.weight][1 - contraction.dim]
        if len(shape) > 1 and shape[dim] == size(layout):
            layers.append(Layer(name=name, channels=dim, shape=tuple(shape), layout=layout))
    return tuple(layers)


def _modules(model: nn.Module, traced: Traced) -> Iterator[tuple[str, Contraction]]:
    """Modules without others inside, that have one weight which is multiplied with their inputs.

    What stands in a basis that repairs may change is no layer: its channels are others in a model that was cut.
    """
    turned = {name for basis in traced.bases.values() if basis.free for name in basis.written}
    names = {id(tensor): name for name, tensor in named_tensors(model)}
    reading = {**traced.grouped, **traced.reading}
    for name, module in model.named_modules():
        own = [names.get(id(tensor), "") for tensor in module.parameters(recurse=False)]
        read = [reading[each] for each in own if each in reading and each in traced.layouts]
        alone = next(module.children(), None) is None
        if (
            len(read) == 1 and read[0].weight not in turned and alone and not isinstance(module, torch.jit.ScriptModule)
        ):  # which takes no hooks
            yield name, read[0]
