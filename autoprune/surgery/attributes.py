"""Whole numbers that modules keep in their attributes. Knows where they lie and how to set them, not their meaning.

They lie in an attribute itself, in lists, tuples and dicts, and in plain objects such as a configuration. A
configuration that modules share is copied for each of them before it is changed, as layers may come to differ.
"""

from __future__ import annotations

import copy
import enum
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import FunctionType, MethodType, ModuleType
from typing import Any, Final

import torch
from torch import Tensor, nn

from autoprune.surgery.tagged import Attribute

#: What `nn.Module` itself keeps in every module: registries, hooks, flags.
INTERNAL: Final = frozenset(vars(nn.Module())) - {"training"}
_DEPTH: Final = 3
Tag = Callable[[Attribute], int]


def tag_all(model: nn.Module, tag: Tag) -> None:
    """Replace every whole number of at least 2 by `tag` of it, in place: for a model that nobody else holds."""
    for name, module in model.named_modules():
        for key, value in list(vars(module).items()):
            if key not in INTERNAL:
                changed = _tagged(value, name, (key,), tag)
                if changed is not value:
                    vars(module)[key] = changed


def _tagged(value: Any, module: str, path: tuple[str | int, ...], tag: Tag) -> Any:
    kind = type(value)
    if kind is int:
        return tag(Attribute(module, path, value)) if value > 1 else value
    if len(path) > _DEPTH:
        return value
    if kind in (list, tuple, torch.Size):
        items = [_tagged(each, module, (*path, place), tag) for place, each in enumerate(value)]
        return kind(items) if any(new is not old for new, old in zip(items, value, strict=True)) else value
    if kind is dict:
        changed = {
            key: _tagged(each, module, (*path, key), tag) if isinstance(key, str | int) else each
            for key, each in value.items()
        }
        return changed if any(changed[key] is not each for key, each in value.items()) else value
    if _plain(value):
        state = {key: _tagged(each, module, (*path, key), tag) for key, each in list(vars(value).items())}
        return _changed(value, state) if any(state[key] is not each for key, each in vars(value).items()) else value
    return value


def _changed(value: Any, state: dict[Any, Any]) -> Any:
    """A copy of an object with other attributes; the object itself where it is the only one of its kind."""
    try:
        new = copy.copy(value)
    except Exception:
        return value
    if new is not value:
        new.__dict__.update(state)
    return new


def _plain(value: Any) -> bool:
    """An object whose attributes are its own and that may be copied: a configuration, a dataclass."""
    excluded = nn.Module | Tensor | type | FunctionType | MethodType | ModuleType | enum.Enum | torch.Generator
    return hasattr(value, "__dict__") and not isinstance(value, excluded) and not callable(value)


def set_all(model: nn.Module, values: Mapping[Attribute, int]) -> None:
    """Set attributes, in place."""
    modules = dict(model.named_modules())
    for attribute, number in values.items():
        holder: dict[Any, Any] = modules[attribute.module].__dict__
        first, *rest = attribute.path
        holder[first] = _replaced(holder[first], rest, number)


def _replaced(value: Any, path: list[str | int], number: int) -> Any:
    """The value with the number at the end of the path changed; what lies on the way is copied, never shared."""
    if not path:
        return number
    first, *rest = path
    if isinstance(value, list | tuple):
        items = [_replaced(each, rest, number) if place == first else each for place, each in enumerate(value)]
        return type(value)(items)
    if isinstance(value, dict):
        return {**value, first: _replaced(value[first], rest, number)}
    return _changed(value, {first: _replaced(vars(value)[str(first)], rest, number)})


def tensors_in(modules: Iterable[tuple[str, nn.Module]], known: set[int]) -> Iterator[tuple[str, Tensor]]:
    """Tensors that lie in plain attributes, by module and attribute; not those whose `id` is known."""
    for name, module in modules:
        for key, value in vars(module).items():
            if key not in INTERNAL and isinstance(value, Tensor | list | tuple | dict):
                for path, tensor in _tensors(value, key):
                    if id(tensor) not in known:
                        known.add(id(tensor))
                        yield f"{name}.{path}" if name else path, tensor


def _tensors(value: Any, path: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield path, value
    elif type(value) in (list, tuple):
        for place, each in enumerate(value):
            yield from _tensors(each, f"{path}.{place}")
    elif type(value) is dict:
        for key, each in value.items():
            yield from _tensors(each, f"{path}.{key}")
