"""The trials that no other trial dominates. Knows dominance; not how quality or cost were found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from autoprune.core.metric import Metric
from autoprune.core.trial import Trial, TrialState


@dataclass(frozen=True)
class Front:
    """Mutually non-dominated trials by ascending cost: of those that meet the budget, or of all if none does."""

    trials: tuple[Trial, ...]
    objectives: tuple[Metric, ...]

    @classmethod
    def of(cls, trials: Iterable[Trial], objectives: Sequence[Metric]) -> Front:
        complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
        feasible = [trial for trial in complete if trial.feasible]
        first = next(iter(layers(feasible or complete, objectives)), [])
        cost = next((metric for metric in objectives if metric.lower_is_better), objectives[0])
        return cls(tuple(sorted(first, key=lambda trial: trial.value(cost.name))), tuple(objectives))

    @property
    def best(self) -> Trial | None:
        """The feasible trial that is best in the first objective; among equals, in the second. None: budget not met."""
        return min((trial for trial in self.trials if trial.feasible), key=vector(self.objectives), default=None)


def vector(objectives: Sequence[Metric]) -> Callable[[Trial], tuple[float, ...]]:
    """A function from a trial to its objective values, all of them to be minimised."""

    def values(trial: Trial) -> tuple[float, ...]:
        return tuple(trial.value(m.name) if m.lower_is_better else -trial.value(m.name) for m in objectives)

    return values


def dominates(left: Sequence[float], right: Sequence[float]) -> bool:
    """Whether `left` is nowhere worse and somewhere better; both are minimised."""
    return all(a <= b for a, b in zip(left, right, strict=True)) and any(
        a < b for a, b in zip(left, right, strict=True)
    )


def layers(trials: Iterable[Trial], objectives: Sequence[Metric]) -> list[list[Trial]]:
    """Non-dominated sorting of complete trials: the front, then the front of what remains, and so on.

    Of trials with equal values only the first counts.
    """
    score = vector(objectives)
    unique = {score(trial): trial for trial in reversed(list(trials))}
    left = dict(sorted(unique.items()))
    found: list[list[Trial]] = []
    while left:
        front = [point for point in left if not any(dominates(other, point) for other in left)]
        found.append([left.pop(point) for point in front])
    return found
