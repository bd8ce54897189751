"""What a run on meta tensors leaves outside of the model. Knows where code keeps things: globals and classes of its
modules, and the dicts and lists in them; not what for.

A table that is remembered there for the next call would be found by that one: by a run with data, and by the user's own
model. Attributes of modules are no matter here, as a twin has its own.
"""

from __future__ import annotations

import sys
from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any, Final

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

#: Whose globals are no user's.
_OTHERS: Final = frozenset(("torch", "builtins", "autoprune"))
#: Others may load what they hold when they are asked for it.
_HOLDERS: Final = (dict, OrderedDict, defaultdict, list)
_ABSENT: Final = object()


@contextmanager
def nothing_left(model: nn.Module) -> Iterator[None]:
    """Afterwards, what got a tensor without data inside is as it was before."""
    kinds = [kind for kind in _kinds(model) if _of_users(kind.__module__)]
    spaces = _globals(kinds)
    holders = list(_holders([*spaces, *map(vars, kinds)]))
    dicts = [(each, dict(each)) for each in (*spaces, *holders) if isinstance(each, dict)]
    lists = [(each, list(each)) for each in holders if isinstance(each, list)]
    own = [(kind, dict(vars(kind))) for kind in kinds]
    try:
        yield
    finally:
        for holder, before in dicts:
            for key in _hollow(holder, before):
                if key in before:
                    holder[key] = before[key]
                else:
                    del holder[key]
        for listed, items in lists:
            if _hollow(dict(enumerate(listed)), dict(enumerate(items))):
                listed[:] = items
        for kind, before in own:
            for key in _hollow(vars(kind), before):
                if key in before:
                    setattr(kind, key, before[key])
                else:
                    delattr(kind, key)


def _of_users(module: str | None) -> bool:
    """Whether code of a Python module may keep what is a user's; what was made by `exec` may have no module."""
    return (module or "").partition(".")[0] not in _OTHERS


def _kinds(model: nn.Module) -> list[type]:
    return list(dict.fromkeys(kind for module in model.modules() for kind in type(module).__mro__))


def _globals(kinds: list[type]) -> list[dict[str, Any]]:
    """Of the Python modules of these classes, and of those of the functions that they have."""
    homes = [vars(sys.modules[kind.__module__]) for kind in kinds if kind.__module__ in sys.modules]
    further = [
        value.__globals__
        for home in {id(home): home for home in homes}.values()
        for value in list(home.values())
        if isinstance(value, FunctionType) and _of_users(value.__module__)
    ]
    return list({id(home): home for home in (*homes, *further)}.values())


def _holders(spaces: list[Any]) -> Iterator[dict[Any, Any] | list[Any]]:
    """Dicts and lists under any name of these, and those in such dicts."""
    for space in spaces:
        for name, value in list(space.items()):
            if type(value) in _HOLDERS and not name.startswith("__"):
                yield value
                if isinstance(value, dict):
                    yield from (each for each in list(value.values()) if type(each) in _HOLDERS)


def _hollow(after: Any, before: dict[Any, Any]) -> list[Any]:
    """Keys of what is new and has a tensor without data."""
    new = [key for key, value in list(after.items()) if value is not before.get(key, _ABSENT)]
    return [key for key in new if any(isinstance(leaf, Tensor) and leaf.is_meta for leaf in tree_leaves(after[key]))]
