"""What plans cost in int8, from what they cost in float32. Knows a factor; not what a model is made of.

A graph in int8 is not taken apart: a few models are timed in both precisions, and all plans are taken to gain as much.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from autoprune.core.forecast import CostForecast, ModuleCost, Term
from autoprune.core.measurement import FULL, QUANTISED
from autoprune.core.plan import Plan
from autoprune.cost_model.sampled_models import cut
from autoprune.measure.device import Device
from autoprune.search_spaces.space import SearchSpace

#: Of which uniform plans the gain is told.
_RATIOS: Final = (1.0, 0.5, 0.0)


@dataclass(frozen=True)
class Gain:
    """share: what int8 takes of the latency of float32; error: its relative standard deviation over plans."""

    share: float
    error: float

    @classmethod
    def measured(cls, device: Device, space: SearchSpace) -> Gain:
        """Of some plans of all sizes. Errors are those of `Device.rough`."""
        plans = dict.fromkeys(space.uniform(ratio) for ratio in _RATIOS)
        logs = [np.log(_seconds(device, plan, QUANTISED) / _seconds(device, plan, FULL)) for plan in plans]
        return cls(float(np.exp(np.mean(logs))), float(np.std(logs)))

    def applied(self, forecasts: Iterable[CostForecast], place: int, timed: set[str]) -> tuple[CostForecast, ...]:
        """Forecasts of a space with precisions, from those of one without.

        Args:
            forecasts: In float32.
            place: Of the precision among the variables, the last one.
            timed: The metrics that follow latency; the others do not depend on the precision.
        """
        return tuple(self._both(each, place) if each.metric in timed else each for each in forecasts)

    def _both(self, found: CostForecast, place: int) -> CostForecast:
        error = float(np.hypot(found.error, self.error))
        modules = tuple(replace(each, offset=0.0, terms=self._terms(each, place)) for each in found.modules)
        return replace(found, offset=0.0, terms=self._terms(found, place), error=error, modules=modules)

    def _terms(self, found: CostForecast | ModuleCost, place: int) -> tuple[Term, ...]:
        shares = np.array([self.share, 1.0])
        terms = [
            Term((*term.variables, place), (*term.shape, 2), tuple(np.outer(term.values, shares).ravel().tolist()))
            for term in found.terms
        ]
        return (*terms, Term((place,), (2,), tuple((found.offset * shares).tolist())))


def _seconds(device: Device, plan: Plan, precision: str) -> float:
    if device.spec.traced is None:
        raise ValueError("the device was opened without a traced model")
    return device.rough(cut(device, device.spec.traced, replace(plan, precision=precision)))
