"""The trials that no other trial dominates. Knows dominance; not how quality or cost were found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from autoprune.core.metric import Metric, costs
from autoprune.core.trial import Trial, TrialState


@dataclass(frozen=True)
class Front:
    """Trials by ascending cost that no other trial dominates, whether they meet the budget or not.

    best: of the feasible ones the one that is chosen; None where nothing meets the budget. It is on the front even
    where an infeasible trial beats it, which can be only if a limited metric is no objective.
    """

    trials: tuple[Trial, ...]
    objectives: tuple[Metric, ...]
    best: Trial | None

    @classmethod
    def of(
        cls,
        trials: Iterable[Trial],
        objectives: Sequence[Metric],
        choose: Callable[[Sequence[Trial]], Trial] | None = None,
    ) -> Front:
        """choose: the best of several; None: the best in the first objective, among equals in the second."""
        complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
        found = next(layers(complete, objectives), [])
        score = vector(objectives)
        feasible = [trial for trial in complete if trial.feasible]
        best = None if not feasible else min(feasible, key=score) if choose is None else choose(feasible)
        if best is not None:
            equal = next((trial for trial in found if score(trial) == score(best)), None)
            found, best = (found, equal) if equal is not None else ([*found, best], best)
        first = next(iter(costs(objectives)), objectives[0])
        # Of a throughput the highest is the cheapest.
        sign = -1 if first in costs(objectives) and not first.lower_is_better else 1
        ascending = sorted(found, key=lambda trial: sign * trial.value(first.name))
        return cls(tuple(ascending), tuple(objectives), best)


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


def layers(trials: Iterable[Trial], objectives: Sequence[Metric]) -> Iterator[list[Trial]]:
    """Non-dominated sorting of complete trials: the front, then the front of what remains, and so on.

    Of trials with equal values only one counts, a feasible one if there is one.
    """
    score = vector(objectives)
    unique = {score(trial): trial for trial in sorted(trials, key=lambda trial: trial.feasible)}
    left = sorted(unique)
    while left:
        front = minimal(left)
        yield [unique[point] for point in front]
        taken = set(front)
        left = [point for point in left if point not in taken]


def minimal(points: Sequence[tuple[float, ...]]) -> list[tuple[float, ...]]:
    """Those of distinct points, sorted, that no other dominates: only an earlier one could.

    Of two coordinates the second falls along the front, so that its last point decides.
    """
    found: list[tuple[float, ...]] = []
    for point in points:
        rivals = found[-1:] if len(point) == 2 else found
        if not any(dominates(rival, point) for rival in rivals):
            found.append(point)
    return found


def hypervolume(points: Iterable[tuple[float, ...]], reference: tuple[float, ...]) -> float:
    """The volume that minimised points dominate, up to a reference point (Zitzler and Thiele 1998).

    By slices along the last coordinate (While et al. 2006): exact, and fast enough for fronts of a few hundred points.
    """
    inside = minimal(sorted({p for p in points if all(a < b for a, b in zip(p, reference, strict=True))}))
    if not inside:
        return 0.0
    if len(reference) == 1:
        return reference[0] - inside[0][0]
    if len(reference) == 2:
        heights = (reference[1], *(second for _, second in inside))
        return sum((reference[0] - a) * (above - b) for above, (a, b) in zip(heights, inside, strict=False))
    total = 0.0
    inside.sort(key=lambda point: point[-1])
    for place, point in enumerate(inside):
        until = inside[place + 1][-1] if place + 1 < len(inside) else reference[-1]
        if until > point[-1]:
            total += (until - point[-1]) * hypervolume((p[:-1] for p in inside[: place + 1]), reference[:-1])
    return total
