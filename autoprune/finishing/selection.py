"""Which candidates are finished. Knows fronts, budgets and bins of like cost; trains and measures nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

from autoprune.core.budget import Budget
from autoprune.core.front import Front, layers, vector
from autoprune.core.measurement import Measurement
from autoprune.core.metric import Metric, cost
from autoprune.core.trial import Trial
from autoprune.searching.forecasting import proxy_metric_of


def evenly(
    trials: Sequence[Trial],
    objectives: Sequence[Metric],
    count: int,
    wanted: Callable[[Trial], tuple[float, ...]] | None = None,
) -> list[Trial]:
    """At most `count` trials: their front, evenly over its length, a short one filled up from the layers behind it.

    wanted: of which the least is among them in any case; default: the objectives, so that it is the best of the first.
    """
    front = list(Front.of(trials, objectives).trials)
    if len(front) > count:
        must = min(range(len(front)), key=lambda place: (wanted or vector(objectives))(front[place]))
        if count <= 1:
            return [front[must]][:count]
        steps = [round(place * (len(front) - 1) / (count - 1)) for place in range(count)]
        steps[min(range(count), key=lambda k: abs(steps[k] - must))] = must
        return [front[place] for place in steps]
    taken = {trial.number for trial in front}
    for layer in layers([trial for trial in trials if trial.number not in taken], objectives):
        front.extend(layer)
        if len(front) >= count:
            break
    return front[:count]


def telling(trials: Sequence[Trial], objectives: Sequence[Metric], metrics: Sequence[Metric]) -> tuple[Metric, ...]:
    """The objectives by which to choose contenders: the proxy metric of a task in place of its quality, where intervals
    of quality overlap between most neighbours on the front and so tell nothing.

    metrics: the task's, its quality first.
    """
    proxy_metric, quality = proxy_metric_of(metrics), metrics[0]
    pairs = list(pairwise(trial.measurements.get(quality.name) for trial in Front.of(trials, objectives).trials))
    alike = sum(a is not None and b is not None and a.low <= b.high and b.low <= a.high for a, b in pairs)
    if not proxy_metric or quality not in objectives or 2 * alike <= len(pairs):
        return tuple(objectives)
    proxy_value = next(metric for metric in metrics if metric.name == proxy_metric)
    return tuple(proxy_value if metric == quality else metric for metric in objectives)


def standing(
    trial: Trial, value: float, quality: Metric, first: Metric, budget: Budget, dense: Mapping[str, Measurement]
) -> tuple[float, ...]:
    """By what contenders of like cost are compared, the higher, the better: their quality; where limits on qualities
    decide and the first objective is a cost, what they lack of those, and then that cost.

    value: the contender's quality by now; other qualities count as they were when it was repaired.
    """
    reached = -value if quality.lower_is_better else value
    floors = [limit for limit in budget.limits if not limit.is_cost]
    if not floors or cost(first.name) is None:
        return (reached,)
    now = {**{limit.metric: trial.value(limit.metric) for limit in floors}, quality.name: value}
    lacks = max(limit.excess(now[limit.metric], now[limit.metric], dense[limit.key].value) for limit in floors)
    price = trial.value(first.name)
    return (-max(lacks, 0.0), -price if first.lower_is_better else price, reached)


def excess(trial: Trial) -> tuple[float, ...]:
    """How far a trial is beyond the limit that it breaks most."""
    return (max(trial.excesses.values(), default=0.0),)
