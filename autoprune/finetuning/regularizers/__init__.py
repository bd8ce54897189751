"""Regularizers: what draws slices to zero in a model that will be cut. One file each, named on the command line.

A regularizer is a module with `penalty(context)`, a number that is small where what slices hold is small, and OPTIONS
(what `--regularizer-option` takes, with defaults as text). It says what is small; not when it acts, or how strongly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Final

import torch
from torch import Tensor

from autoprune.criteria import GroupView
from autoprune.errors import UsageError
from autoprune.registry import with_defaults

#: What every regularizer takes, with what holds where its module says nothing else. A penalty is spread over all
#: weights, and one as large as the loss is hardly seen: of strengths of .1, 1, 10 and 100 the last two did best on the
#: search split of `benchmarks/regularizers.py`, alike within the spread; the smaller one is taken.
_COMMON: Final[Mapping[str, str]] = {"strength": "10", "growth": "constant"}
_GROWTHS: Final[Mapping[str, Callable[[float], float]]] = {
    "constant": lambda _: 1.0,
    "linear": lambda share: share,
    "decay": lambda share: 1 - share,
}


@dataclass(frozen=True, kw_only=True)
class RegularizerContext:
    """The trained weights that slices of open groups hold, as they are now. Gradients flow back to them.

    Attributes:
        groups: Each with all that its slices hold, over all tensors.
        parameters: By name.
        held: By name, which elements slices hold: bool, of the parameter's shape.
        going: By name, which elements go when the model is cut the next time.
        factors: Names of factors of normalisation.
        options: Every one of the module's OPTIONS.
    """

    groups: tuple[GroupView, ...]
    parameters: Mapping[str, Tensor]
    held: Mapping[str, Tensor]
    going: Mapping[str, Tensor]
    factors: frozenset[str] = frozenset()
    options: Mapping[str, str] = field(default_factory=dict)

    def total(self, function: Callable[[Tensor], Tensor], where: Mapping[str, Tensor]) -> Tensor:
        """A function of weights, summed; each weight counts once, however many groups hold it.

        Args:
            function: Of a tensor, element by element.
            where: By parameter, which elements: bool, of its shape.

        Returns:
            A scalar.
        """
        zero = next(iter(self.parameters.values()), torch.zeros(())).new_zeros(())
        return sum(
            (torch.where(chosen, function(self.parameters[name]), 0).sum() for name, chosen in where.items()), zero
        )


@dataclass(frozen=True, kw_only=True)
class Strength:
    """How strongly a regularizer acts.

    Attributes:
        highest: Penalty by loss, at a phase's first step, were it at full strength there.
        growth: constant; linear, from nothing to full strength at a phase's last step; or decay, from that to nothing.
    """

    highest: float
    growth: str

    @classmethod
    def of(cls, options: Mapping[str, str]) -> Strength:
        """What options say.

        Raises:
            UsageError: they say no positive number, or no growth that is known.
        """
        try:
            highest = float(options["strength"])
        except ValueError:
            highest = math.nan
        if not 0 < highest < math.inf:
            raise UsageError(
                expected="strength as a positive number: the penalty's size by that of the loss, at the first step",
                received=repr(options["strength"]),
                cure="write for example --regularizer-option strength=5",
            )
        if options["growth"] not in _GROWTHS:
            raise UsageError(
                expected=f"growth={' or '.join(_GROWTHS)}",
                received=repr(options["growth"]),
                cure="choose one of them",
            )
        return cls(highest=highest, growth=options["growth"])

    def share(self, step: int, steps: int) -> float:
        """Of the full strength; step: from 0 on, of how many."""
        return _GROWTHS[self.growth]((step + 1) / max(steps, 1))


def checked(module: ModuleType, given: Mapping[str, str]) -> dict[str, str]:
    """Every option of a regularizer's module, as given or as it is by default.

    Raises:
        UsageError: one that it does not have.
    """
    return with_defaults("regularizer", {**_COMMON, **getattr(module, "OPTIONS", {})}, given)
