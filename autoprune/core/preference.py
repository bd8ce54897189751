"""Which model of a front is the best for its user. Knows values of objectives; not how they were found.

Objectives are compared in the box of `goal`: a quality is 0 where it is the dense model's and 1 a fifth of the
metric's range below, a cost is a share of the dense model's. What is preferred does not depend on what else was found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from autoprune.core.front import minimal
from autoprune.core.goal import in_box
from autoprune.core.measurement import Measurement
from autoprune.core.metric import Metric
from autoprune.core.trial import Trial
from autoprune.core.weights import weighted
from autoprune.errors import UsageError

#: The word that asks for the knee.
KNEE: Final = "knee"
#: Of models whose worst objective is alike, the one whose others are better (Steuer and Choo 1983: .001 to .01).
_AUGMENTED: Final = 0.001


@dataclass(frozen=True)
class Preference:
    """How the best of several models is told, none of which beats another.

    Attributes:
        text: Empty for the one that is best in the first objective; `knee`; or weights of all objectives, such as
            `accuracy:2,latency:1`, where a weight of 1 may be left out.

    Raises:
        UsageError: weights that are none.

    Example:
        >>> Preference("accuracy:2,latency").weights
        {'accuracy': 2.0, 'latency': 1.0}
    """

    text: str = ""
    weights: Mapping[str, float] = field(default_factory=dict, init=False, compare=False)

    def __post_init__(self) -> None:
        if self.text not in ("", KNEE):
            object.__setattr__(self, "weights", weighted(self.text, "objectives", "accuracy:2,latency:1, or knee"))

    def check(self, objectives: Iterable[str]) -> None:
        """Refuse weights of something else than what is traded off.

        Raises:
            UsageError: one is missing, or of no objective.
        """
        wanted = [*objectives]
        if self.weights and {*self.weights} != {*wanted}:
            raise UsageError(
                expected=f"a weight for each of {', '.join(wanted)}",
                received=self.text,
                cure=f"write for example {','.join(f'{name}:1' for name in wanted)}, or knee",
            )

    def best(self, values: Sequence[Sequence[float]], objectives: Sequence[Metric], dense: Mapping[str, float]) -> int:
        """The place of the best.

        Weights: the least weighted distance from a model as good as the dense one at no cost, or, in an objective in
        which the front has better ones, as good as the best of them; by the augmented weighted Chebyshev norm,
        max w z + 0.001 sum w z (Steuer and Choo 1983); it finds models in dents of the front, too.
        Knee: the least sum of objectives, each of which is 0 at the best of the front and 1 at its worst; of two that
        is the farthest below the line through the front's ends (Das 1999). Of equal ones the best in the first one.

        Args:
            values: Of each model, one an objective, in SI units.
            objectives: The most wanted first.
            dense: The dense model's values by name.
        """
        places = [tuple(in_box(m, v, dense[m.name]) for m, v in zip(objectives, each, strict=True)) for each in values]
        front = minimal(sorted({*places}))
        low, high = (tuple(map(end, zip(*front, strict=True))) for end in (min, max))
        ideal = [min(z, 0.0) for z in low]

        def rank(place: tuple[float, ...]) -> float:
            if self.weights:
                distances = [self.weights[m.name] * (z - i) for m, z, i in zip(objectives, place, ideal, strict=True)]
                return float(max(distances) + _AUGMENTED * sum(distances))
            if self.text == KNEE:
                return float(sum((z - a) / (b - a) for z, a, b in zip(place, low, high, strict=True) if b > a))
            return 0.0

        return places.index(min(front, key=lambda place: (round(rank(place), 12), place)))

    def chooser(
        self, objectives: Sequence[Metric], dense: Mapping[str, Measurement]
    ) -> Callable[[Sequence[Trial]], Trial]:
        """The best of several trials, as a front asks for it."""
        whole = {metric.name: dense[metric.name].value for metric in objectives}

        def best(trials: Sequence[Trial]) -> Trial:
            values = [[trial.value(metric.name) for metric in objectives] for trial in trials]
            return trials[self.best(values, objectives, whole)]

        return best
