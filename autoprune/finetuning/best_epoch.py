"""The best epoch of a training so far. Knows the state of the training by names; not how it is trained or scored.

What counts is then the best epoch's model, and lies in the state where the last one's did; training goes on from that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from autoprune.core.measurement import Measurement

#: What counts, what training goes on from, and which epoch what counts is of.
_MODEL, _CURRENT, _NUMBER = "model.", "current.", "best_epoch"


@dataclass(frozen=True, kw_only=True)
class BestEpoch:
    """number: of the epoch, from 1 on; scores: after it, on the search split; weights: its part of the state."""

    number: int
    scores: Mapping[str, Measurement]
    weights: Mapping[str, Tensor] = field(repr=False)

    @classmethod
    def of(cls, number: int, scores: Mapping[str, Measurement], state: Mapping[str, Tensor]) -> BestEpoch:
        """An epoch that has just been trained."""
        weights = {name: each for name, each in state.items() if name.startswith(_MODEL)}
        return cls(number=number, scores=scores, weights=weights)

    def put(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The state of a later epoch, or of this one, with this one's model as what counts."""
        kept = {name: each.clone() for name, each in self.weights.items()}  # no file has two names for one tensor
        current = {_renamed(name, _MODEL, _CURRENT): each for name, each in state.items()}
        return {**current, **kept, _NUMBER: torch.tensor(self.number)}


def taken(state: Mapping[str, Tensor], scores: Mapping[str, Measurement]) -> tuple[dict[str, Tensor], BestEpoch | None]:
    """What training goes on from, and the best epoch where the state has one.

    Args:
        state: As `BestEpoch.put` made it, or any other one.
        scores: Of what counts in it.
    """
    if _NUMBER not in state:
        return dict(state), None
    best = BestEpoch.of(int(state[_NUMBER]), scores, state)
    rest = {name: each for name, each in state.items() if name != _NUMBER and not name.startswith(_MODEL)}
    return {_renamed(name, _CURRENT, _MODEL): each for name, each in rest.items()}, best


def _renamed(name: str, old: str, new: str) -> str:
    return f"{new}{name.removeprefix(old)}" if name.startswith(old) else name
