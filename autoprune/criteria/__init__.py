"""How important each slice of a group is. Knows the contract; each file beside this one is one criterion.

A criterion is a module with `score(group) -> Tensor`: what is known of one group in, one score a slice out (1-D,
finite, higher is more important, permuted when the slices are permuted). `NEEDS` says what it looks at besides the
weights: "activations" (views have `reads`), "gradients" (the group has a sensitivity), or a tuple of both.

Weights that are zeroed one by one are a group whose slices are single elements: the same criteria score them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final

from torch import Tensor

from autoprune.core.deprecation import renamed_attribute
from autoprune.criteria._moments import DAMPING, Moments, factored, ridged, second_moment
from autoprune.errors import UsageError

__all__ = [
    "DAMPING",
    "GradientStats",
    "GroupView",
    "InputStats",
    "Moments",
    "Score",
    "View",
    "factored",
    "needs_of",
    "ridged",
    "second_moment",
]

#: What a criterion may need besides the weights.
SOURCES: Final = ("activations", "gradients")
#: Names of before version 0.2, which are taken for one release more.
_FORMERLY = {"Reads": "InputStats", "Scored": "GroupView", "Sensitivity": "GradientStats"}


@dataclass(frozen=True)
class GradientStats:
    """What gradients say of the slices of a group, each (size,): averages over small batches of the calibration split.

    z = sum of w * dL/dw over all elements of a slice in all members: minus the first-order change of the loss without
    it. mean: E[z]; absolute: E|z|; square: E[z^2]; gradient: E[sum |dL/dw|].
    """

    mean: Tensor
    absolute: Tensor
    square: Tensor
    gradient: Tensor


@dataclass(frozen=True)
class InputStats:
    """What the positions of a view read. columns: where their entries stand in the moments, (positions, taps)."""

    moments: Moments
    columns: Tensor

    def per_position(self, per_entry: Tensor) -> Tensor:
        """One number an entry, averaged to one a position (positions,)."""
        return per_entry[self.columns].mean(1)


@dataclass(frozen=True)
class View:
    """One parameter as a group sees it.

    rows: the parameter with the group's dimension first, (positions, elements), float64; slices: for each position the
    index of the group's slice that it belongs to, -1 for none; size: number of slices of the group; role: "in" where
    the positions are inputs that the weight is summed over, "out" where they are results, "scale" for a factor each,
    "other" for biases, tables and the rest, "elements" where each position is a single weight; reads: the inputs that
    positions meet, where they are known.
    """

    tensor: str
    rows: Tensor
    slices: Tensor
    size: int
    role: str = "other"
    reads: InputStats | None = None

    def sum(self, per_position: Tensor) -> Tensor:
        """Add up one number a position (positions,) into one number a slice (size,)."""
        inside = self.slices >= 0
        return per_position.new_zeros(self.size).index_add(0, self.slices[inside], per_position[inside])


@dataclass(frozen=True)
class GroupView:
    """What a criterion is told of one group. sensitivity: None unless the criterion needs gradients."""

    name: str
    size: int
    views: tuple[View, ...]
    sensitivity: GradientStats | None = None

    @property
    def readers(self) -> list[tuple[View, InputStats]]:
        """The views whose inputs are known."""
        return [(view, view.reads) for view in self.views if view.reads is not None]

    @property
    def slopes(self) -> GradientStats:
        """The sensitivity.

        Raises:
            LookupError: there is none, as the criterion does not say that it needs gradients.
        """
        if self.sensitivity is None:
            raise LookupError("a criterion that looks at gradients says so: NEEDS = 'gradients'")
        return self.sensitivity

    def total(self, per_position: Callable[[View], Tensor], views: Iterable[View] | None = None) -> Tensor:
        """One number a position of each view, summed to one a slice (size,)."""
        return self._sum((view, per_position(view)) for view in (self.views if views is None else views))

    def total_read(self, per_position: Callable[[View, InputStats], Tensor]) -> Tensor:
        """The same over the views whose inputs are known.

        Raises:
            LookupError: there is none, as the criterion does not say that it needs activations.
        """
        if not self.readers:
            raise LookupError("a criterion that looks at inputs says so: NEEDS = 'activations'")
        return self._sum((view, per_position(view, reads)) for view, reads in self.readers)

    def _sum(self, parts: Iterable[tuple[View, Tensor]]) -> Tensor:
        return sum((view.sum(each) for view, each in parts), self.views[0].rows.new_zeros(self.size))


Score = Callable[[GroupView], Tensor]


def needs_of(criterion: ModuleType) -> tuple[str, ...]:
    """What a criterion's module looks at besides the weights.

    Raises:
        UsageError: it says something that nobody gathers, or has no `score`.
    """
    needs = getattr(criterion, "NEEDS", ())
    found = ((needs,) if needs else ()) if isinstance(needs, str) else tuple(needs)
    name = criterion.__name__.rpartition(".")[2]
    if wrong := [each for each in found if each not in SOURCES]:
        cure = "correct NEEDS in its module"
        expected = f"NEEDS of '{name}' among {', '.join(SOURCES)}"
        raise UsageError(expected=expected, received=", ".join(map(str, wrong)), cure=cure)
    if not callable(getattr(criterion, "score", None)):
        cure = "write score(group) -> Tensor"
        raise UsageError(expected=f"a function score in the criterion '{name}'", received="none", cure=cure)
    return found


def __getattr__(name: str) -> Any:
    return renamed_attribute(__name__, name, _FORMERLY)
