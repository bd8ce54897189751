"""The forecast of a search: what each variable costs and hurts when it alone is cut. Knows trials; not who uses it.

Ablations (`ablation`) tell of each variable alone at its lowest level. What lies between is written down as if it hurt
with the square of what is cut; the trials that follow tell the power, refit it, and tell more per second than further
ablations would. Where there was no time for an ablation, the share of its group's importance that goes stands in, in
units of those that were made.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final

import numpy as np

from autoprune.core.budget import Budget
from autoprune.core.forecast import CostForecast, Forecast, Term
from autoprune.core.goal import CostLimit, SearchGoal, share
from autoprune.core.measurement import Measurement
from autoprune.core.metric import COUNTED, Metric, cost
from autoprune.core.proposal import Proposal
from autoprune.core.reporter import Reporter
from autoprune.core.trial import Trial, TrialState
from autoprune.errors import UsageError
from autoprune.search_spaces.space import SearchSpace, Variable
from autoprune.searching.ablation import Ablations, Drives, ablate, in_part, lost_importance
from autoprune.searching.candidate import Evaluator
from autoprune.searching.coordinator import check_possible
from autoprune.surrogate.observations import Floats, loss_increase

#: Of the largest loss increase, what a score may differ by chance.
_NOISE: Final = 0.002


def foresee(
    space: SearchSpace,
    goal: SearchGoal,
    evaluator: Evaluator,
    limited: Iterable[str],
    executor: Drives,
    seed: int,
    reporter: Reporter,
    limit_s: float = math.inf,
) -> Forecast:
    """The forecast of a search.

    Args:
        space: What may be cut.
        goal: What the search is after.
        evaluator: Of its candidates.
        limited: Costs that have a limit.
        executor: Drives the ablations.
        seed: Of the plans that are taken apart.
        reporter: Told how it is getting on.
        limit_s: Seconds after which no further ablation is begun.
    """
    start = evaluator.clock.wall()
    if any(group.kind == "weight" for group in space.groups):
        limit_s = math.inf  # what zeros save is seen in ablations only
    partly, scored = in_part(evaluator, hurried=math.isfinite(limit_s))
    ablations = ablate(space, partly, executor, reporter, limit_s)
    names = [name for name in dict.fromkeys([*(m.name for m in goal.objectives), *limited]) if cost(name) is not None]
    dense = {key: found.value for key, found in evaluator.dense.items()}
    with reporter.track("costs of plans", 1) as advance:
        costs = evaluator.device.costs(space, names, dense, seed)
        advance("")
    seconds = evaluator.clock.wall() - start
    reporter.note(f"forecast of {', '.join(names)} and of what each group's loss does: {seconds:.1f} s")
    lost = lost_importance(space, evaluator.ranking)
    return assembled(
        space,
        _beside(goal, scored),
        ablations=ablations,
        costs=costs,
        dense=evaluator.dense,
        seconds=seconds,
        lost=lost,
    )


def _beside(goal: SearchGoal, scored: Mapping[str, Measurement]) -> SearchGoal:
    """The goal with the dense model's qualities as they are on other samples."""
    known = zip(goal.objectives, goal.dense, strict=True)
    dense = tuple(scored[metric.name].value if metric.name in scored else value for metric, value in known)
    return replace(
        goal, dense=dense, proxy_value=scored[goal.proxy_metric].value if goal.proxy_metric else goal.proxy_value
    )


def check_reach(space: SearchSpace, evaluator: Evaluator, executor: Drives) -> None:
    """Raise BudgetInfeasibleError where the smallest plan is too much; a forecast takes long to no use then."""
    if not evaluator.budget.limits:
        return
    dense = Trial(0, space.dense(), TrialState.COMPLETE, evaluator.dense)
    for smallest in executor.drive(iter([Proposal(0, space.smallest())]), evaluator):
        if smallest.state is TrialState.COMPLETE:
            check_possible(smallest, dense, evaluator.budget)


def assembled(
    space: SearchSpace,
    goal: SearchGoal,
    ablations: Ablations,
    costs: Sequence[CostForecast],
    dense: Mapping[str, Measurement],
    seconds: float,
    lost: Mapping[int, float] = MappingProxyType({}),
) -> Forecast:
    """Put together what was found. costs: of the device; dense: the dense model's measurements; seconds: in all; lost:
    by variable, the share of importance that goes at its lowest level."""
    zeroed = any(group.kind == "weight" for group in space.groups)
    if zeroed:  # zeros change no shape: what they save is seen in the ablations only
        costs = [_counted(space, ablations, each.metric, dense) if each.metric in COUNTED else each for each in costs]
    loss_increases = {
        v: _loss_increase(goal, trial) for v, trial in ablations.items() if trial.state is TrialState.COMPLETE
    }
    worst = max([0.0, *loss_increases.values()])  # nothing good is expected of what could not be cut
    guessed = _guessed(space, loss_increases, lost, ablations.keys() - loss_increases.keys())
    rows = [
        _filled({**guessed, **loss_increases}.get(v, worst), variable, 2) for v, variable in enumerate(space.variables)
    ]
    below = np.minimum(np.array(list(loss_increases.values()) or [0.0]), 0.0)
    noise = float(np.sqrt(np.mean(below**2))) + _NOISE * worst + 1e-9
    return Forecast(tuple(costs), tuple(tuple(row.tolist()) for row in rows), noise, seconds)


def goal_of(
    budget: Budget, objectives: Sequence[Metric], dense: Mapping[str, Measurement], proxy_metric: str
) -> SearchGoal:
    """What a search is after. A limit on a statistic counts as one on the cost that is as far from the dense one's.

    Raises:
        UsageError: the dense model has nothing of a cost that is limited or traded off.
    """
    for name in dict.fromkeys((*budget.metrics, *(metric.name for metric in objectives))):
        if cost(name) is not None and not dense[name].value > 0:
            raise UsageError(
                expected=f"a dense model with {name} to save",
                received=f"{name} of {dense[name].value:g}",
                cure="limit and trade off another cost",
            )
    bounds: dict[str, float] = {}
    for limit in budget.limits:
        if not limit.is_cost:
            continue
        whole = dense[limit.metric].value
        bound = limit.bound(dense[limit.key].value) * whole / dense[limit.key].value
        tighter = min if limit.relation == "<=" else max
        bounds[limit.metric] = tighter(bound, bounds.get(limit.metric, bound))
    values = tuple(dense[metric.name].value for metric in objectives)
    limits = tuple(bounds.get(metric.name) for metric in objectives)
    names = {metric.name for metric in objectives}
    others = tuple(
        CostLimit(metric, share(metric, bound, dense[name].value))
        for name, bound in bounds.items()
        if name not in names and (metric := cost(name)) is not None
    )
    return SearchGoal(
        objectives=tuple(objectives),
        dense=values,
        limits=limits,
        proxy_metric=proxy_metric,
        proxy_value=dense[proxy_metric].value if proxy_metric else 0.0,
        others=others,
    )


def proxy_metric_of(metrics: Sequence[Metric]) -> str:
    """What tells better than a task's quality how a model was hurt: its loss, where it has one."""
    return next((metric.name for metric in metrics[1:] if metric.name == "loss" and metric.lower_is_better), "")


def _loss_increase(goal: SearchGoal, trial: Trial) -> float:
    values = [trial.value(m.name) if m.name in trial.measurements else 0.0 for m in goal.objectives]
    return loss_increase(goal, values, trial.value(goal.proxy_metric) if goal.proxy_metric else None)


def _guessed(
    space: SearchSpace, loss_increases: Mapping[int, float], lost: Mapping[int, float], failed: Collection[int]
) -> dict[int, float]:
    """The loss increase of variables that nobody cut alone: as much for their lost importance as those of their kind do
    in the median, and where that is unknown, as those of their kind do."""
    kinds = [variable.groups[0].kind for variable in space.variables]
    found = {}
    for v, kind in enumerate(kinds):
        if v in loss_increases or v in failed or not loss_increases:
            continue
        alike = [other for other in loss_increases if kinds[other] == kind] or [*loss_increases]
        known = [max(loss_increases[other], 0.0) / lost[other] for other in alike if lost.get(other, 0.0) > 0]
        usual = float(np.median([max(loss_increases[other], 0.0) for other in alike]))
        found[v] = float(np.median(known)) * lost[v] if known and v in lost else usual
    return found


def _filled(lowest: float, variable: Variable, power: int) -> Floats:
    """A value for each level: `lowest`, if above 0, for the first; 0 for the whole; between them by what is cut."""
    kept = np.array([sum(counts) for counts in variable.levels], float)
    found: Floats = max(lowest, 0.0) * ((kept[-1] - kept) / (kept[-1] - kept[0])) ** power
    return found


def _counted(space: SearchSpace, ablations: Ablations, metric: str, dense: Mapping[str, Measurement]) -> CostForecast:
    """A counted cost as the whole less what each variable saves alone."""
    terms = []
    for v, variable in enumerate(space.variables):
        known = v in ablations and ablations[v].state is TrialState.COMPLETE
        saves = dense[metric].value - ablations[v].value(metric) if known else 0.0
        saved = _filled(saves, variable, 1)
        terms.append(Term((v,), (len(saved),), tuple((saved.max() - saved).tolist())))
    rest = dense[metric].value - sum(term.values[-1] for term in terms)
    return CostForecast(metric, rest, tuple(terms), error=0.02)
