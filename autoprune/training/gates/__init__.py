"""Gates: one number a slice, learned with the weights, that says how much of the slice gets through. One file a kind.

A kind is a module with `create(size) -> Gate`, of one group, and `optimizer(parameters)`, whose rates are divided by
the steps of the phase in which they learn; NEEDS = "inputs" where a gate looks at what each sample lets into slices. It
says how a number is learned; not where it acts, or what is cut by it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from types import ModuleType
from typing import Final

from torch import Tensor, nn

from autoprune import registry
from autoprune.errors import UsageError

#: What a kind may need.
INPUTS: Final = "inputs"


@dataclass(frozen=True, kw_only=True)
class GateContext:
    """What a gate is told when the model runs.

    Attributes:
        uniform: Numbers from 0 to 1, (size,), which stand for chance; None in eval mode, where there is none.
        inputs: Of each sample the mean size of what enters each slice, (samples, size), for kinds that need it.
    """

    uniform: Tensor | None = field(default=None, repr=False)
    inputs: Tensor | None = field(default=None, repr=False)


class Gate(nn.Module, ABC):
    """The gate of a group. All are 1 at first, so that the model is what it was; at 0 a slice is as good as cut."""

    def __init__(self, size: int) -> None:
        """size: slices of the group."""
        super().__init__()
        self.size = size

    def at(self, kept: float) -> None:
        """So many slices are to be open from now on, fewer and fewer until the plan is reached."""

    @abstractmethod
    def forward(self, context: GateContext) -> Tensor:
        """What the slices are multiplied by, (size,), in eval mode as `settled`; of kinds that look at inputs, what the
        slices of each sample are, (samples, size)."""

    @abstractmethod
    def settled(self) -> Tensor:
        """What slices are multiplied by for good when nothing is learned any more, (size,)."""

    @abstractmethod
    def scores(self) -> Tensor:
        """Which slices matter most, (size,), higher is more."""


def kind_of(name: str) -> ModuleType:
    """The module of a kind.

    Raises:
        UsageError: there is none, or it needs what no gate is told.
    """
    module = registry.load("gates", name)
    needs = getattr(module, "NEEDS", "")
    if needs not in ("", INPUTS):
        raise UsageError(
            expected=f"NEEDS of the gate '{name}' as {INPUTS}", received=repr(needs), cure="correct it in its module"
        )
    return module
