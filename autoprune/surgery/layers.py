"""Layers that can be dropped whole. Knows module calls and what reaches what; not channels or their labels.

A module whose input is recognisable in its output of the same shape is a residual block: without it the input passes
on. A module whose output is added to a stream that was there before is a residual branch: without it nothing is added.
"""

from __future__ import annotations

import inspect
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.surgery.tracer import Tracer


@dataclass(frozen=True)
class Drop:
    """How a layer is left out.

    module: its name; argument: place or name of the argument that stands for its result; zeros: the result is zeros
    like it; length: the layer returned a tuple of as many, the others None; 0 for a tensor; flops: what it cost; alone:
    the layer takes that argument and no other.
    """

    module: str
    argument: int | str
    zeros: bool
    length: int
    flops: int
    alone: bool = False


class Skip(nn.Module):
    """Stands where a layer was: passes its first tensor on, or zeros like it. Keeps what may be read of the layer."""

    def __init__(self, drop: Drop, layer: nn.Module) -> None:
        super().__init__()
        for key, value in _read(layer):
            if key not in vars(self):
                setattr(self, key, value)
        self.drop = drop
        self.training = layer.training

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The layer's arguments in, its result's form out."""
        argument = self.drop.argument
        stream = args[argument] if isinstance(argument, int) else kwargs[argument]
        result = torch.zeros_like(stream) if self.drop.zeros else stream
        return (result, *(None,) * (self.drop.length - 1)) if self.drop.length else result

    def extra_repr(self) -> str:
        return "zeros" if self.drop.zeros else "identity"


def _read(layer: nn.Module) -> Iterator[tuple[str, Any]]:
    """Attributes that the code around a layer may read. What is run, such as a `forward` of this object alone, and what
    is private, as that which wraps it keeps, would bring the layer back."""
    for key, value in vars(layer).items():
        if not (key.startswith("_") or callable(value) or isinstance(value, Tensor)):  # modules are callable
            yield key, value


def _stand_in(drop: Drop, layer: nn.Module) -> nn.Module:
    """What stands where a layer was: one of torch's own modules where that takes the call, so that the model is pickled
    and scripted as before."""
    if drop.length or not drop.alone:
        return Skip(drop, layer)
    new = nn.Threshold(math.inf, 0.0) if drop.zeros else nn.Identity()  # nothing is above the threshold: zeros
    for key, value in _read(layer):
        if key not in vars(new) and key != "layer_idx":
            setattr(new, key, value)
    return new.train(layer.training)


def drop_layers(model: nn.Module, drops: list[Drop]) -> None:
    """Put a stand-in where each layer was, in place, and number the layers that are left without a gap.

    Caches of keys and values count layers by `layer_idx` and take the length of the first for that of all.
    """
    if not drops:
        return
    dropped = {drop.module for drop in drops}
    numberings = _numberings(model)
    skips = {
        id(layer): _stand_in(drop, layer)
        for drop in drops
        if not any(drop.module.startswith(f"{other}.") for other in dropped)
        for layer in (model.get_submodule(drop.module),)
    }
    for module in list(model.modules()):
        if isinstance(module, torch.jit.ScriptModule):
            continue
        for state in (module._modules, vars(module)):
            for key, value in list(state.items()):
                state[key] = _instead(value, skips)
    present = set(map(id, model.modules()))
    for numbers in numberings:
        kept = {module: number for module, number in numbers.items() if id(module) in present}
        places = {number: place for place, number in enumerate(sorted(set(kept.values())))}
        for module, number in kept.items():
            vars(module)["layer_idx"] = places[number]


def _numberings(model: nn.Module) -> list[dict[nn.Module, int]]:
    """Modules with their layer numbers, those together that are counted together: stacks that have no number in common,
    as the stages of one. A decoder counts anew beside its encoder."""
    paths = {
        tuple(name.split(".")): module
        for name, module in model.named_modules()
        if type(vars(module).get("layer_idx")) is int and not isinstance(module, Skip)
    }
    found: list[dict[nn.Module, int]] = []
    for stack in _stacks(paths):
        numbers = {module: vars(module)["layer_idx"] for module in stack}
        for other in found:
            if not set(numbers.values()) & set(other.values()):
                other.update(numbers)
                break
        else:
            found.append(numbers)
    return found


def _stacks(paths: Mapping[tuple[str, ...], nn.Module], depth: int = 0) -> list[list[nn.Module]]:
    """Numbered modules by what holds them: the outermost whose parts have one number each."""
    parts: dict[tuple[str, ...], dict[tuple[str, ...], nn.Module]] = {}
    for path, module in paths.items():
        parts.setdefault(path[depth : depth + 1], {})[path] = module
    here: list[nn.Module] = []
    deeper: list[list[nn.Module]] = []
    for part in parts.values():
        if len({vars(module)["layer_idx"] for module in part.values()}) == 1:
            here += part.values()
        else:
            deeper += _stacks(part, depth + 1)
    return [here, *deeper] if here else deeper


def _instead(value: Any, skips: Mapping[int, nn.Module]) -> Any:
    """The value, or what stands in its place, also in a plain list or dict of modules."""
    if type(value) in (list, tuple):
        return type(value)(skips.get(id(each), each) for each in value)
    if type(value) is dict:
        return {key: skips.get(id(each), each) for key, each in value.items()}
    return skips.get(id(value), value)


@dataclass
class _Called:
    """One call of a module: what went in, what came out, and the cost so far."""

    argument: int | str
    start: int
    shape: tuple[int, ...]
    flops: int
    spent: int = 0
    end: int = -1
    length: int = 0
    alone: bool = False


def _shape(tensor: Tensor) -> tuple[int, ...]:
    """As plain numbers: looking at a shape must not pass for the model's own comparison. Rows of unlike lengths have
    none."""
    return () if tensor.is_nested else tuple(map(int, tensor.shape))


def _parameters(layer: nn.Module) -> int:
    """How many arguments a call may have, as another one may bring what this one left to its default; 2 for any."""
    try:
        taken = inspect.signature(layer.forward).parameters.values()
    except ValueError:  # a function that is not written in Python, and does not say
        return 2
    return sum(1 + (each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD)) for each in taken)


class LayerWatcher:
    """Sees each module's calls in one run through hooks, which are taken off again."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._calls: dict[str, list[_Called | None]] = {}
        self._model: nn.Module = nn.Module()
        self._settled = False
        self.found: list[Drop] = []

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        self._model = model
        handles = []
        for name, module in model.named_modules():
            weighs = any(parameter.dim() > 1 for parameter in module.parameters())
            if name and weighs and not isinstance(module, torch.jit.ScriptModule):  # which takes no hooks
                handles.append(module.register_forward_pre_hook(self._entering(name), with_kwargs=True))
                handles.append(module.register_forward_hook(self._leaving(name), with_kwargs=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _entering(self, name: str) -> Any:
        def hook(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if not self._settled:
                places: list[tuple[int | str, Any]] = [*enumerate(args), *kwargs.items()]
                first = next(((place, value) for place, value in places if isinstance(value, Tensor)), None)
                call = None
                if first is not None:
                    number = self._tracer.flow.number(first[1])
                    call = _Called(first[0], number, _shape(first[1]), len(self._tracer.flops))
                    call.alone = len(args) == 1 and not kwargs and _parameters(layer) == 1
                self._calls.setdefault(name, []).append(call)

        return hook

    def _leaving(self, name: str) -> Any:
        def hook(_: nn.Module, __: tuple[Any, ...], ___: dict[str, Any], out: Any) -> None:
            call = None if self._settled else self._calls[name][-1]
            if call is None:
                return
            main, others = (out[0], out[1:]) if type(out) is tuple and out else (out, ())
            if isinstance(main, Tensor) and _shape(main) == call.shape and all(each is None for each in others):
                call.end = self._tracer.flow.number(main)
                call.length = len(out) if type(out) is tuple else 0
                call.spent = sum(spent for spent, _ in self._tracer.flops[call.flops :])

        return hook

    def settle(self) -> None:
        """The run is over: what was seen becomes `found`. A sequence of layers is no layer itself."""
        self._settled = True
        flow = self._tracer.flow
        branches: Counter[int] = Counter()
        for name, calls in self._calls.items():
            call = calls[0]
            if len(calls) != 1 or call is None or call.end < 0 or call.end == call.start:
                continue
            if flow.reaches(call.start, call.end):
                self.found.append(
                    Drop(name, call.argument, zeros=False, length=call.length, flops=call.spent, alone=call.alone)
                )
                continue
            joined = flow.joins(call.start, call.end)
            if joined is not None and self._weights(name) > 1 and not branches[joined]:
                branches[joined] += 1
                self.found.append(
                    Drop(name, call.argument, zeros=True, length=call.length, flops=call.spent, alone=call.alone)
                )
        parents = Counter(drop.module.rpartition(".")[0] for drop in self.found if not drop.zeros)
        self.found = [
            drop
            for drop in self.found
            if not (parents[drop.module] and isinstance(self._model.get_submodule(drop.module), nn.Sequential))
        ]

    def _weights(self, name: str) -> int:
        module = self._model.get_submodule(name)
        return sum(any(p.dim() > 1 for p in each.parameters(recurse=False)) for each in module.modules())
