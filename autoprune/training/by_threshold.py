"""Plans that a training brings about: what became small goes. Knows schedules and scores; not what made it small."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, nn

from autoprune.core.plan import Plan
from autoprune.core.scope import scoped
from autoprune.errors import UsageError
from autoprune.surgery import Traced
from autoprune.surgery.keep import planned
from autoprune.training.schedules import Phase


class Threshold:
    """A share of the largest score of each group, which slices must reach to stay."""

    def __init__(self, share: float, traced: Traced, *, weights: bool) -> None:
        """weights: whether single weights go instead of slices.

        Raises:
            UsageError: it is no share.
        """
        scoped((), {}, "relative", share)
        self._share, self._traced, self._weights = share, traced, weights

    def plan(self, model: nn.Module, scores: Mapping[str, Tensor]) -> Plan:
        """What stays of a model, by scores of its slices."""
        return planned(self._share, model, self._traced, scores, scope="relative", weights=self._weights)

    def least(self, model: nn.Module, phases: Callable[[Plan], Sequence[Phase]], schedule: str) -> Plan:
        """What can stay at least, of any model.

        Args:
            model: The dense one.
            phases: Of the schedule, for a plan.
            schedule: Its name.

        Raises:
            UsageError: the schedule wants a plan from the beginning.
        """
        whole, least = (planned(each, model, self._traced, {}, weights=self._weights) for each in (1.0, 1e-9))
        *before, _ = phases(least)
        if not before or any(phase.plan != whole or phase.thinned_to is not None for phase in before):
            raise UsageError(
                expected="a schedule that cuts once, after a phase of the dense model, where there is a threshold",
                received=f"'{schedule}'",
                cure="choose schedule='regularized', or pass keep= or plan=",
            )
        return least
