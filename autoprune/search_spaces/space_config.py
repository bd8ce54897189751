"""How models of one kind are opened: one file of `search_spaces/`, or an object. Knows kinds and patterns; no
particular model."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from os import PathLike
from typing import Any, Final, get_args

from autoprune.core import precision
from autoprune.core.group import Group, Kind
from autoprune.errors import UsageError
from autoprune.search_spaces.locks import check_matches
from autoprune.search_spaces.pattern import Pattern

#: A precision is no part of a model that could be opened.
_KINDS: Final = tuple(kind for kind in get_args(Kind) if kind != precision.NAME)
_USUAL_PATTERN: Final = "unstructured"


@dataclass(frozen=True, kw_only=True)
class SpaceConfig:
    """How models are opened: what `search(space=...)` takes beside the name of a file.

    Attributes:
        kinds: Kinds of group to open: channel, neuron, head, head_dim, embedding, hidden, expert, row, layer, weight.
        keep_ratios: Shares of a group that may stay, each in (0, 1].
        frozen: Regular expressions on names of groups that stay whole.
        step: Counts are multiples of it: one number, or one a kind (1 where it is not named).
        floor: The fewest slices left, alike.
        tied: Regular expressions on "kind name" of groups: those that match one with the same captures share a level.
        pattern: Where the zeros of groups of kind weight may stand.
        savable: Whether only what the model's own configuration can say is opened; groups that it says together are
            one variable.
        name: Of the file that it was read from; what messages call it.
        match: Regular expressions on class names of modules, any of which selects it among the files by itself.
        priority: Of several that match, the highest wins.

    Raises:
        UsageError: a value of another form, or one that can have no effect.

    Example:
        >>> SpaceConfig(kinds=["channel"], keep_ratios=[1.0, 0.5], frozen=["^stem"]).kinds
        ('channel',)
    """

    kinds: Sequence[Kind]
    keep_ratios: Sequence[float]
    frozen: Sequence[str] = ()
    step: int | Mapping[Kind, int] = 1
    floor: int | Mapping[Kind, int] = 1
    tied: Sequence[str] = ()
    pattern: str = _USUAL_PATTERN
    savable: bool = False
    name: str = "own"
    match: Sequence[str] = ()
    priority: int = 0

    def __post_init__(self) -> None:
        for key, (legal, form, example) in _FORMS.items():
            value = getattr(self, key)
            if not legal(value):
                raise UsageError(
                    expected=f"{key} of the search space '{self.name}' as {form}",
                    received=repr(value),
                    cure=f"write for example {key}: {example}",
                )
            if isinstance(value, list):
                object.__setattr__(self, key, tuple(value))
        self._check_effects()

    def _check_effects(self) -> None:
        """Refuse what the kinds that are opened leave without effect."""
        for key in ("step", "floor"):
            setting = getattr(self, key)
            idle = [] if isinstance(setting, int) else [kind for kind in setting if kind not in self.kinds]
            if idle:
                raise UsageError(
                    expected=f"a {key} of kinds that the search space '{self.name}' opens: {', '.join(self.kinds)}",
                    received=", ".join(idle),
                    cure=f"add it to kinds, or leave it out of {key}",
                )
        if self.pattern != _USUAL_PATTERN and "weight" not in self.kinds:
            raise UsageError(
                expected=f"kinds with weight in the search space '{self.name}', whose pattern is {self.pattern}",
                received=", ".join(self.kinds),
                cure="add weight to kinds, or leave out pattern",
            )

    def check_patterns(self, groups: Sequence[Group]) -> None:
        """Refuse a pattern that matches nothing in a model, where the configuration was written for it.

        Raises:
            UsageError: one of `frozen` or `tied` matches no group; near names are suggested.
        """
        for key, subjects in (
            ("frozen", {group.name: group.name for group in groups}),
            ("tied", {group.name: f"{group.kind} {group.name}" for group in groups}),
        ):
            for pattern in getattr(self, key):
                check_matches(pattern, subjects, groups, f"{key} of the search space '{self.name}'")

    def to_json(self) -> dict[str, Any]:
        """As keyword arguments that are ready for JSON and YAML."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    def step_of(self, group: Group) -> int:
        """The group's own step as often as its rounding asks for."""
        return math.lcm(group.step, _of(self.step, group.kind)) if group.size > 1 else 1

    def floor_of(self, group: Group) -> int:
        """The fewest slices that the group itself and the configuration leave it."""
        return group.floor if group.kind == "layer" else min(max(group.floor, _of(self.floor, group.kind)), group.size)

    def fits(self, class_name: str) -> bool:
        """Whether a module of that class selects it."""
        return any(re.fullmatch(pattern, class_name) for pattern in self.match)

    def closes(self, group: Group) -> str:
        """Why it keeps a group whole; empty if it opens it."""
        if group.kind not in self.kinds:
            return f"the search space '{self.name}' does not open groups of kind {group.kind}"
        for pattern in self.frozen:
            if re.search(pattern, group.name):
                return f"kept whole by '{pattern}' of the search space '{self.name}'"
        return ""

    def shared(self, group: Group) -> str:
        """What the groups that share a level with this one have in common; empty if it stands alone."""
        for pattern in self.tied:
            found = re.search(pattern, f"{group.kind} {group.name}")
            if found:
                return repr((pattern, found.groups()))
        return ""


#: A search space: by name, as a file, as an object, or as what a file says.
Space = str | PathLike[str] | SpaceConfig | Mapping[str, Any] | None


def known() -> tuple[str, ...]:
    """What a file may say."""
    return tuple(item.name for item in fields(SpaceConfig) if item.name != "name")


def _of(setting: int | Mapping[Kind, int], kind: Kind) -> int:
    return setting if isinstance(setting, int) else setting.get(kind, 1)


def _texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)


def _kinds(value: Any) -> bool:
    return _texts(value) and bool(value) and set(value) <= set(_KINDS)


def _patterns(value: Any) -> bool:
    try:
        return _texts(value) and all(re.compile(each) for each in value)
    except re.error:
        return False


def _zeros(value: Any) -> bool:
    try:
        return bool(Pattern.parse(value)) if isinstance(value, str) else False
    except UsageError:
        return False


def _number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _count(value: Any) -> bool:
    return _number(value) and value >= 1


def _ratios(value: Any) -> bool:
    several = isinstance(value, list | tuple) and bool(value)
    return several and all(isinstance(each, int | float) and 0 < each <= 1 for each in value)


def _counts(value: Any) -> bool:
    by_kind = isinstance(value, Mapping) and set(value) <= set(_KINDS) and all(map(_count, value.values()))
    return by_kind or _count(value)


#: What each of its values must be, and an example.
_FORMS: Final[dict[str, tuple[Callable[[Any], bool], str, str]]] = {
    "match": (_patterns, "a list of regular expressions on class names", '["ResNet"]'),
    "priority": (_number, "a whole number", "10"),
    "kinds": (_kinds, f"a list out of {', '.join(_KINDS)}", "[channel, neuron]"),
    "frozen": (_patterns, "a list of regular expressions", '["^stem"]'),
    "step": (_counts, "a whole number of at least 1, or one a kind", "8"),
    "floor": (_counts, "a whole number of at least 1, or one a kind", "{channel: 8, neuron: 16}"),
    "keep_ratios": (_ratios, "a list of keep ratios above 0 and at most 1", "[1.0, 0.75, 0.5]"),
    "tied": (_patterns, "a list of regular expressions", '["^head (.*)"]'),
    "pattern": (_zeros, "unstructured, N:M such as 2:4, or a block such as 4x4", "2:4"),
    "savable": (lambda value: isinstance(value, bool), "true or false", "true"),
    "name": (lambda value: isinstance(value, str), "text", "mine"),
}
