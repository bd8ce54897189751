"""A second model of the same class, with other tensors. Knows how modules hold their state; not what was cut.

Modules are rebuilt attribute by attribute, tensors are what `replace` makes of them (tied ones once), plain containers
are copied, and anything else is deep-copied. No tensor is copied that `replace` does not copy.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, Final

import torch
from torch import Tensor, nn

from autoprune.surgery.attributes import INTERNAL
from autoprune.surgery.closures import Closures
from autoprune.surgery.wrappers import inner, wrappers

_SHARED: Final = frozenset((
    type(None), bool, int, float, complex, str, bytes, type, BuiltinFunctionType,
    torch.dtype, torch.device, torch.Size, torch.layout, torch.memory_format,
))  # fmt: skip


def clone(model: nn.Module, replace: Callable[[Tensor], Tensor]) -> nn.Module:
    """A model of the same class; replace: a tensor of the old one -> the new one's.

    Modules that say themselves how to be copied (`__deepcopy__`, scripted ones) are asked. In the place of a wrapper is
    what it wraps.
    """
    memo: dict[int, Any] = {}
    modules = list(_children_first(model, set()))
    for module in modules:
        if (wrapped := inner(module)) is not None and id(wrapped) in memo:
            memo[id(module)] = memo[id(wrapped)]
        elif not (hasattr(type(module), "__deepcopy__") or isinstance(module, torch.jit.ScriptModule)):
            memo[id(module)] = object.__new__(type(module))
    copier = _Copier(memo, replace)
    copier.tensors(modules)
    for module in modules:
        if type(memo.get(id(module))) is type(module) and not vars(memo[id(module)]):  # not yet, by one that copies it
            copier.fill(module, memo[id(module)])
    copied: nn.Module = copier.copied(model)
    copier.closures.bind()
    return copied


def unwrapped(model: nn.Module) -> nn.Module:
    """The model without wrappers: what the outermost runs, or, where there are others inside, a model of the same
    tensors without them."""
    model = inner(model) or model
    return clone(model, lambda tensor: tensor) if wrappers(model) else model


def _children_first(module: nn.Module, seen: set[int]) -> Iterator[nn.Module]:
    """Each module after those inside of it, which a `__setstate__` may look at."""
    seen.add(id(module))
    for child in module.children():
        if id(child) not in seen:
            yield from _children_first(child, seen)
    yield module


class _Copier:
    def __init__(self, memo: dict[int, Any], replace: Callable[[Tensor], Tensor]) -> None:
        self._memo = memo
        self._keep: list[Any] = []  # what the memo knows by its address must not be freed
        self._replace = replace
        self.closures = Closures(memo)

    def tensors(self, modules: Iterable[nn.Module]) -> None:
        """All registered tensors first, so that whatever holds one more reference finds it."""
        for module in modules:
            for registered in (module._parameters, module._buffers):
                for tensor in registered.values():
                    if tensor is not None:
                        self.copied(tensor)

    def fill(self, module: nn.Module, new: nn.Module) -> None:
        """Give the new module the old one's state, through `__setstate__` where its class has one of its own."""
        own = type(module).__getstate__ is not object.__getstate__
        old = module.__getstate__() if own else vars(module)
        # Most of a module's registries and hooks are empty, and there are fourteen of them.
        state = {
            key: value
            if type(value) in _SHARED
            else (type(value)() if key in INTERNAL and not value else self.copied(value))
            for key, value in old.items()
        }
        if own or type(module).__setstate__ is not nn.Module.__setstate__:
            new.__setstate__(state)
        else:
            vars(new).update(state)

    def copied(self, value: Any) -> Any:
        kind = type(value)
        if kind in _SHARED:
            return value
        if id(value) in self._memo:
            return self._memo[id(value)]
        if isinstance(value, Tensor):
            new: Any = self._replace(value)
        elif kind is FunctionType:
            new = self.closures.copied(value, self.copied)
        elif kind is MethodType:
            function = value.__func__
            function = self.copied(function) if type(function) is FunctionType else function
            new = MethodType(function, self.copied(value.__self__))
        elif kind in (dict, OrderedDict) or _is_its_attributes(value):
            new = self._dict(value)
        elif kind is list:
            new = []
            self._memo[id(value)] = new
            new.extend(map(self.copied, value))
        elif kind in (tuple, set, frozenset):
            new = kind(map(self.copied, value))
        else:
            new = self._other(value)
        self._memo[id(value)] = new
        self._keep.append(value)
        return new

    def _dict(self, value: Any) -> Any:
        new = dict.__new__(type(value)) if _is_its_attributes(value) else type(value)()
        self._memo[id(value)] = new
        new.update((key, self.copied(each)) for key, each in value.items())
        if _is_its_attributes(value):
            new.__dict__ = new  # which `deepcopy` would forget
        return new

    def _other(self, value: Any) -> Any:
        if hasattr(type(value), "__del__") and not isinstance(value, nn.Module):
            return value  # its copy would clean up what the model still uses
        try:
            new = copy.deepcopy(value, self._memo)
        except Exception:
            new = value  # a lock, a file, a generator: what cannot be copied is used by both models
        if new is value and isinstance(value, nn.Module):
            new = self._memo[id(value)] = object.__new__(type(value))
            self.fill(value, new)
        return new


def _is_its_attributes(value: Any) -> bool:
    """Whether it is a dict that is its own `__dict__`, so that items are read as attributes."""
    return isinstance(value, dict) and getattr(value, "__dict__", None) is value
