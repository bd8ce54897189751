"""torch modules as ATen operators. Knows how one call is written down as JSON, and nothing of what it computes.

Eager torch runs one operator after the other and fuses nothing, so each is a unit. The model runs once on the example
while the operators are written down, with the sizes and strides of their tensors; views, which cost nothing, are not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from autoprune.bench.artifact import Artifact
from autoprune.cost_model.units import Unit
from autoprune.surgery.example import Example
from autoprune.surgery.modes import evaluating
from autoprune.surgery.operations import formula
from autoprune.surgery.operator_watch import OperatorWatch


def units(model: nn.Module, example: Example) -> list[Unit]:
    """The operators of one forward pass in eval mode, in order."""
    recorder, inputs = _Recorder(), example.fresh()
    with torch.no_grad(), evaluating(model), _layers(model, recorder), recorder:
        inputs.call(model)
    return recorder.found


def peak_units() -> tuple[Unit, Unit]:
    """A product of matrices and a sum of long vectors: what the device can do at most."""
    with torch.no_grad(), _Recorder() as recorder:
        square = torch.zeros(1024, 1024)
        _ = square @ square
        long = torch.zeros(2**23)
        long.add_(torch.zeros(2**23))
    product = next(unit for unit in recorder.found if unit.flops)
    total = next(unit for unit in recorder.found if "add_" in unit.family)
    return product, total


class _Recorder(OperatorWatch):
    """Writes down every operator that works."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Unit] = []
        self.layers: list[str] = [""]

    def seen(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = {"op": str(func), "args": tree_map(_written, list(args)), "kwargs": tree_map(_written, kwargs)}
        out = func(*args, **kwargs)
        if func.namespace == "aten" and not func.is_view and torch.Tag.data_dependent_output not in func.tags:
            self.found.append(self._unit(func, args, kwargs, out, call))
        return out

    def _unit(self, func: Any, args: Any, kwargs: Any, out: Any, call: dict[str, Any]) -> Unit:
        tensors = [leaf for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, Tensor)]
        text = json.dumps(call, sort_keys=True)
        operations = formula(func)
        numbers: list[int] = []
        family = json.dumps(_without_sizes(call, numbers), sort_keys=True)
        return Unit(
            operator=func.overloadpacket.__name__,
            family=family,
            sizes=tuple(numbers),
            layer=self.layers[-1],
            flops=float(operations(*args, **kwargs, out_val=out)) if operations else 0.0,
            moved=float(sum(tensor.numel() * tensor.element_size() for tensor in tensors)),
            artifact=lambda: Artifact("unit", text.encode()),
        )


def _written(value: Any) -> Any:
    """A value of a call as JSON has it."""
    if isinstance(value, Tensor):
        return {
            "tensor": str(value.dtype).removeprefix("torch."),
            "size": list(value.shape),
            "stride": list(value.stride()),
        }
    if isinstance(value, torch.dtype | torch.device | torch.layout | torch.memory_format):
        return {"torch": str(value)}
    return value if isinstance(value, bool | int | float | str | None) else str(value)


def _without_sizes(value: Any, numbers: list[int]) -> Any:
    """The call with every size, stride and whole number taken out and put into `numbers`."""
    if isinstance(value, dict):
        return {key: _without_sizes(value[key], numbers) for key in sorted(value)}
    if isinstance(value, list):
        return [_without_sizes(each, numbers) for each in value]
    if isinstance(value, int) and not isinstance(value, bool):
        numbers.append(value)
        return "n"
    return value


@contextmanager
def _layers(model: nn.Module, recorder: _Recorder) -> Iterator[None]:
    """While inside, the recorder knows which module runs."""
    handles = []
    for name, module in model.named_modules():

        def enter(_module: nn.Module, _args: Any, name: str = name) -> None:
            recorder.layers.append(name)

        def leave(_module: nn.Module, _args: Any, _out: Any) -> None:
            recorder.layers.pop()

        handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
