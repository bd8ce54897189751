"""The trials that no other trial dominates. Knows dominance; not how quality or cost were found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from autoprune.core.metric import COSTS, Metric
from autoprune.core.trial import Trial, TrialState


@dataclass(frozen=True)
class Front:
    """Trials by ascending cost that no other trial dominates, whether they meet the budget or not.

    best: the feasible one that is best in the first objective, among equals in the second; None where nothing meets
    the budget. It is on the front even where an infeasible trial beats it, which can be only if a limited metric is no
    objective.
    """

    trials: tuple[Trial, ...]
    objectives: tuple[Metric, ...]
    best: Trial | None

    @classmethod
    def of(cls, trials: Iterable[Trial], objectives: Sequence[Metric]) -> Front:
        complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
        found = next(iter(layers(complete, objectives)), [])
        score = vector(objectives)
        best = min((trial for trial in complete if trial.feasible), key=score, default=None)
        if best is not None:
            equal = next((trial for trial in found if score(trial) == score(best)), None)
            found, best = (found, equal) if equal is not None else ([*found, best], best)
        cost = next((metric for metric in objectives if metric.name in COSTS), objectives[0])
        return cls(tuple(sorted(found, key=lambda trial: trial.value(cost.name))), tuple(objectives), best)


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

    Of trials with equal values only one counts, a feasible one if there is one.
    """
    score = vector(objectives)
    unique = {score(trial): trial for trial in sorted(trials, key=lambda trial: trial.feasible)}
    left = dict(sorted(unique.items()))
    found: list[list[Trial]] = []
    while left:
        front = [point for point in left if not any(dominates(other, point) for other in left)]
        found.append([left.pop(point) for point in front])
    return found
