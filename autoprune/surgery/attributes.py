"""Whole numbers that modules keep in their attributes. Knows where they lie and how to set them, not their meaning.

They lie in an attribute itself (or in one of the class, which the module then gets as its own), in lists, tuples and
dicts (subclasses and tuples with names too), and in plain objects such as a configuration. A configuration that modules
share is copied for each of them before it is changed, as layers may come to differ.
"""

from __future__ import annotations

import copy
import enum
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from numbers import Integral
from types import FunctionType, MemberDescriptorType, MethodType, ModuleType
from typing import Any, Final

import torch
from torch import Tensor, nn

from autoprune.surgery.tracked_int import Attribute, Item, Step

#: What `nn.Module` itself keeps in every module: registries, hooks, flags.
INTERNAL: Final = frozenset(vars(nn.Module())) - {"training"}
#: How deep a configuration is looked into, and how many objects of one attribute: what has more is none.
_DEPTH, _OBJECTS = 8, 2000
Tag = Callable[[Attribute], int]


def tag_all(model: nn.Module, tag: Tag) -> None:
    """Replace every whole number of at least 2 by `tag` of it, in place: for a model that nobody else holds."""
    for name, module in model.named_modules():
        for key, value in {**_numbers_of_class(type(module)), **vars(module)}.items():
            if key not in INTERNAL:
                changed = _Walk(name, tag).tagged(value, (key,), ())
                if changed is not value:
                    vars(module)[key] = changed


def _numbers_of_class(kind: type[nn.Module]) -> dict[str, int]:
    """Whole numbers that the classes of a module keep for all of theirs; torch's own keep none that is a size."""
    own = [each for each in kind.__mro__ if each.__module__.partition(".")[0] != "torch"]
    return {key: value for each in reversed(own) for key, value in vars(each).items() if is_whole(value)}


def is_whole(value: Any) -> bool:
    """Whether it is a whole number, of Python's or of another library's, and no truth value or name of one."""
    kind = type(value)
    return kind is int or (issubclass(kind, Integral) and not issubclass(kind, int))


class _Walk:
    """Through what one attribute of a module holds."""

    def __init__(self, module: str, tag: Tag) -> None:
        self._module, self._tag, self._left = module, tag, _OBJECTS

    def tagged(self, value: Any, path: tuple[Step, ...], above: tuple[int, ...]) -> Any:
        """The value with its numbers tagged: a copy, or itself where it has none. above: ids of what holds it."""
        if is_whole(value):
            return self._tag(Attribute(self._module, path, int(value))) if value > 1 else value
        if len(above) == _DEPTH or id(value) in above or not self._left:
            return value
        self._left -= 1
        changes: dict[Step, Any] = {}
        for step, part in _parts(value).items():
            new = self.tagged(part, (*path, step), (*above, id(value)))
            if new is not part:
                changes[step] = new
        return _changed(value, changes) if changes else value


def set_all(model: nn.Module, values: Mapping[Attribute, int]) -> None:
    """Set attributes, in place."""
    modules = dict(model.named_modules())
    for attribute, number in values.items():
        module = modules[attribute.module]
        first, *rest = attribute.path
        own: dict[Any, Any] = module.__dict__
        own[first] = _replaced(own.get(first, getattr(type(module), str(first), None)), rest, number)


def _replaced(value: Any, path: list[Step], number: int) -> Any:
    """The value with the number at the end of the path changed; what lies on the way is copied, never shared."""
    if not path:
        return type(value)(number) if is_whole(value) else number
    first, *rest = path
    return _changed(value, {first: _replaced(_parts(value)[first], rest, number)})


def _parts(value: Any) -> dict[Step, Any]:
    """What a sequence, a dict or a plain object holds, by the step that leads there."""
    parts: dict[Step, Any] = {}
    if _is_sequence(value):
        parts.update((Item(place), part) for place, part in enumerate(value))
    elif isinstance(value, dict):
        parts.update((Item(key), part) for key, part in dict.items(value) if isinstance(key, str | int))
    if _is_plain(value):
        parts.update(_slots(value))
        parts.update(getattr(value, "__dict__", {}))
    return parts


def _changed(value: Any, changes: Mapping[Step, Any]) -> Any:
    """A copy with other parts, made without the setters of its class, which may forbid or check it; the object itself
    where it is the only one of its kind."""
    if _is_sequence(value):
        items = [changes.get(Item(place), part) for place, part in enumerate(value)]
        kind: Any = type(value)
        return kind._make(items) if hasattr(kind, "_make") else kind(items)
    new = _shallow(value)
    own = getattr(new, "__dict__", {})
    if new is value or own is getattr(value, "__dict__", None):
        return value
    for step, part in {**_read_otherwise(value, changes), **changes}.items():
        if isinstance(step, Item):
            dict.__setitem__(new, step.key, part)
        elif step in own:
            own[step] = part
        else:
            object.__setattr__(new, step, part)
    return new


def _shallow(value: Any) -> Any:
    """A copy that holds the same; the object itself where none can be made."""
    try:
        return copy.copy(value)
    except Exception:  # a class that answers any question about attributes, with an error of its own
        if not isinstance(value, dict) or not type(value).__dictoffset__:
            return value
    new: Any = type(value).__new__(type(value))
    dict.update(new, value)
    new.__dict__.update(vars(value))
    return new


def _read_otherwise(value: Any, changes: Mapping[Step, Any]) -> dict[Step, Any]:
    """The same changes where an item of a dict is kept as an attribute, too, or an attribute as an item."""
    if not isinstance(value, dict):
        return {}
    parts = _parts(value)
    other: dict[Step, Step] = {step: str(step.key) if isinstance(step, Item) else Item(step) for step in changes}
    return {
        twin: changes[step]
        for step, twin in other.items()
        if twin in parts and (parts[twin] is parts[step] or (is_whole(parts[twin]) and parts[twin] == parts[step]))
    }


def _is_sequence(value: Any) -> bool:
    kind = type(value)
    return kind in (list, tuple, torch.Size) or (isinstance(value, tuple) and hasattr(kind, "_make"))


def _is_plain(value: Any) -> bool:
    """An object whose attributes are its own and that may be copied: a configuration, a dataclass; nothing of torch's,
    and nothing that cleans up when it goes."""
    kind = type(value)
    excluded = nn.Module | Tensor | type | FunctionType | MethodType | ModuleType | enum.Enum
    if isinstance(value, excluded) or callable(value) or hasattr(kind, "__del__"):
        return False
    return kind.__module__.partition(".")[0] not in ("torch", "builtins")


def _slots(value: Any) -> Iterator[tuple[str, Any]]:
    for kind in type(value).__mro__:
        for name, slot in vars(kind).items():
            if isinstance(slot, MemberDescriptorType):
                with suppress(AttributeError):  # not set yet
                    yield name, slot.__get__(value)


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
