"""Which configuration builds tensors of given shapes. Knows numbers and lists of a configuration, and how a class
builds an empty model from one; not what the numbers mean, and not whether the model computes the same.

Nothing is known of architectures: a number that equals a size which the surgery changed is tried at the new size, and
what is built tells whether that was meant.
"""

from __future__ import annotations

import copy
import itertools
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from autoprune.surgery.layout import Layout, Part, Product, size
from autoprune.surgery.random_state import forked_random
from autoprune.surgery.traced import Traced

#: Where a value stands: keys of dicts and places in lists.
Path = tuple[str | int, ...]
#: Models that are built at most to find one configuration, the same where layers differ that no configuration tells
#: apart, and new sizes that are tried for one number.
_BUILDS, _FEW, _TRIED = 96, 12, 4
_NEVER: Final = 1 << 60
#: The place of a module in a list, in a name.
_PLACE: Final = re.compile(r"(?<=\.)\d+(?=\.)")
#: A tensor and its dimension that is of another size; None for one that is missing or too many.
Place = tuple[str, int | None]
Shapes = Mapping[str, torch.Size]
#: By old size, the new sizes, the most frequent first.
Changes = Mapping[int, tuple[int, ...]]
#: How long a list of layers was, and the places that were dropped from it.
Dropped = tuple[int, tuple[int, ...]]


class _Empty(TorchFunctionMode):
    """Parameters without data, buffers with theirs: those that are not saved must be what the constructor made."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        return func(*args, **({**kwargs, "device": "meta"} if func is torch.empty else kwargs))


def made_of(module: Any, content: Mapping[str, Any]) -> nn.Module:
    """A model of a module's class, made of another configuration, on empty parameters."""
    config = module.config
    chosen = {"attn_implementation": found} if (found := getattr(config, "_attn_implementation", None)) else {}
    return made_empty(type(module), type(config).from_dict(copy.deepcopy(dict(content)), **chosen))


def made_empty(kind: Any, config: Any) -> nn.Module:
    """A model of a class, made of a configuration, on empty parameters."""
    with forked_random(), torch.no_grad(), _Empty():
        built: nn.Module = kind(config)
    return built.eval()


def changes_of(traced: Traced, counts: Mapping[str, int], dropped: Iterable[Dropped]) -> Changes:
    """Every size in the model's tensors, every part of one (heads of a width), and every length of a list of layers
    that is another now. counts: slices left of each group that was cut."""
    seen: Counter[tuple[int, int]] = Counter()
    for layouts in traced.layouts.values():
        for layout in layouts:
            seen.update((size(part), size(part, counts)) for part in _parts(layout))
    seen.update((length, length - len(places)) for length, places in dropped)
    found: dict[int, list[int]] = {}
    for (old, new), _ in seen.most_common():
        if old != new and len(found.setdefault(old, [])) < _TRIED:
            found[old].append(new)
    return {old: tuple(new) for old, new in found.items()}


def _parts(layout: Layout) -> Iterator[Layout]:
    yield layout
    if isinstance(layout, Product):
        count = len(layout.factors)
        for start, end in itertools.combinations(range(count + 1), 2):
            if 1 < end - start < count:
                yield Product(layout.factors[start:end])
    for child in () if isinstance(layout, Part) else getattr(layout, "factors", getattr(layout, "terms", ())):
        yield from _parts(child)


class ConfigSizes:
    """The configurations of one dense model that build other shapes.

    module: the dense one; wanted: by name, the shape that each of its saved tensors has now.
    """

    def __init__(self, module: Any, wanted: Shapes, changes: Changes, dropped: Collection[Dropped]) -> None:
        self._module, self._wanted = module, wanted
        self._dense: dict[str, Any] = module.config.to_dict()
        self._known: dict[str, frozenset[Place] | None] = {}
        shapes = shapes_of(module)
        self._uneven = _uneven(shapes, wanted)
        lost = not dropped and shapes.keys() - wanted.keys()
        self._builds = _FEW if self._uneven or lost else _BUILDS
        self._choices = {
            path: tuple(each) for path, value in _entries(self._dense) if (each := _choices(value, changes, dropped))
        }

    @property
    def changed(self) -> dict[Path, Any]:
        """Every number and list that may be meant at the new size that is most frequent."""
        return {path: choices[0] for path, choices in self._choices.items()}

    def build(self, values: Mapping[Path, Any]) -> nn.Module:
        """A model of the class, with these values in its configuration, on empty parameters."""
        content = copy.deepcopy(self._dense)
        for path, value in values.items():
            _put(content, path, value)
        return made_of(self._module, content)

    def differing(self, values: Mapping[Path, Any]) -> frozenset[Place] | None:
        """Where tensors are of another size, missing or too many; None where nothing can be built."""
        key = repr(sorted(values.items(), key=repr))
        if key not in self._known:
            if len(self._known) >= self._builds:
                return None
            try:
                self._known[key] = differing(shapes_of(self.build(values)), self._wanted)
            except Exception:  # a class refuses sizes that do not go together in whatever way it likes
                self._known[key] = None
        return self._known[key]

    def closest(self) -> dict[Path, Any]:
        """The values that build the wanted shapes, or of those tried the ones that come nearest."""
        found: list[dict[Path, Any]] = []
        for start in self._starts():
            found.append(self._descended(start))
            if not self._score(found[-1]):
                return found[-1]
        return self._filled(min(found, key=self._score))

    def _descended(self, values: dict[Path, Any]) -> dict[Path, Any]:
        """The values, one after the other changed as long as that brings the shapes nearer."""
        improved = True
        while self._score(values) and improved:
            improved = False
            for path, choices in self._choices.items():
                for choice in (None, *choices):
                    other = _with(values, path, choice)
                    if self._score(other) < self._score(values):
                        values, improved = other, True
        return values

    def _starts(self) -> Iterator[dict[Path, Any]]:
        """All that may be meant; for each number the value that alone brings the dense shapes nearest, the dense one
        where all lead away; the same with those that cannot change alone, which may have to go with others."""
        yield self.changed
        alone: dict[Path, Any] = {}
        together: dict[Path, Any] = {}
        dense = self._score({})
        for path, choices in self._choices.items():
            scores = [self._score({path: choice}) for choice in choices]
            best = min(scores)
            if best <= dense or best == _NEVER:
                (together if best == _NEVER else alone)[path] = choices[scores.index(best)]
        yield from sorted((alone, {**alone, **together}), key=self._score)

    def unsaid(self, values: Mapping[Path, Any]) -> str:
        """Why the values do not build the wanted shapes; empty where they do."""
        left = self.differing(values)
        if left is not None and not left:
            return ""
        unknown = differing(shapes_of(self.build({})), shapes_of(self._module))
        if unknown:
            return f"the class makes other tensors than the dense model's of it, such as {_named(unknown)}"
        if self._uneven:
            return "it cannot tell " + " from ".join(f"'{name}' of {list(self._wanted[name])}" for name in self._uneven)
        return (
            f"it cannot say the sizes of {_named(left)}" if left else "the class takes none of the sizes that are left"
        )

    def alike(self, values: Mapping[Path, Any]) -> Iterator[dict[Path, Any]]:
        """Values that build the same shapes, those given first: shapes alone do not show how many heads there are."""
        yield dict(values)
        for path, choices in self._choices.items():
            for choice in (None, *choices):
                other = _with(values, path, choice)
                if other != values and not self._score(other):
                    yield other

    def _filled(self, values: dict[Path, Any]) -> dict[Path, Any]:
        """The values, with numbers where the dense configuration leaves some to be derived from others."""
        left = self.differing(values) or ()
        targets = Counter(self._wanted[name][dim] for name, dim in left if dim is not None)
        for path, _ in _entries(self._dense, of=type(None)) if left else ():
            for target, _ in targets.most_common(_TRIED):
                other = _with(values, path, target)
                if self._score(other) < self._score(values):
                    values = other
        return values

    def _score(self, values: Mapping[Path, Any]) -> int:
        found = self.differing(values)
        return _NEVER if found is None else len(found)


def differing(found: Shapes, wanted: Shapes) -> frozenset[Place]:
    """Where tensors are of another size, missing or too many."""
    places: set[Place] = set()
    for name in {*found, *wanted}:
        one, other = found.get(name), wanted.get(name)
        if one is None or other is None or len(one) != len(other):
            places.add((name, None))
        else:
            places.update((name, dim) for dim, sizes in enumerate(zip(one, other, strict=True)) if len(set(sizes)) > 1)
    return frozenset(places)


def _named(places: Iterable[Place]) -> str:
    names = sorted({name for name, _ in places})
    return f"'{names[0]}'" + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def _uneven(dense: Shapes, wanted: Shapes) -> tuple[str, ...]:
    """Two tensors of one name, but for numbers, and of one shape that have become different; empty where none have."""
    among: dict[tuple[str, torch.Size], str] = {}
    for name, shape in wanted.items():
        if name in dense:
            first = among.setdefault((_PLACE.sub("", name), dense[name]), name)
            if wanted[first] != shape:
                return first, name
    return ()


def shapes_of(model: nn.Module) -> dict[str, torch.Size]:
    """The shapes of all tensors that are saved, by name."""
    return {name: tensor.shape for name, tensor in model.state_dict().items() if isinstance(tensor, torch.Tensor)}


def _entries(content: Any, path: Path = (), of: type | None = None) -> Iterator[tuple[Path, Any]]:
    """Whole numbers and lists of a configuration with their places, or all values of another type."""
    if type(content) is (of or int) or (of is None and isinstance(content, list)):
        yield path, content
    steps = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for step, value in steps:
        yield from _entries(value, (*path, step), of)


def _choices(value: Any, changes: Changes, dropped: Iterable[Dropped]) -> list[Any]:
    if not isinstance(value, list):
        return list(changes.get(value, ()))
    return [
        [each for place, each in enumerate(value) if place not in places]
        for length, places in dropped
        if length == len(value)
    ]


def _with(values: Mapping[Path, Any], path: Path, value: Any) -> dict[Path, Any]:
    """The values with one other; None for what the dense configuration has."""
    changed = {each: other for each, other in values.items() if each != path}
    return changed if value is None else {**changed, path: value}


def _put(content: Any, path: Path, value: Any) -> None:
    *above, last = path
    for step in above:
        content = content[step]
    content[last] = value
