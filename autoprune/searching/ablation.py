"""Each variable cut alone, and what that does to scores. Knows how many are made; not what is learned from them.

Ablations are repaired like candidates and scored on a part of the search split, beside the dense model on the same
part. Where there is no time for all, those that are made lie all over the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final, Protocol

from torch import Tensor

from autoprune.calibration.batches import thinned
from autoprune.core.measurement import Measurement
from autoprune.core.proposal import Proposal
from autoprune.core.reporter import Reporter
from autoprune.core.trial import Trial, TrialState
from autoprune.errors import TaskError
from autoprune.search_spaces.space import SearchSpace
from autoprune.searching.candidate import Evaluator
from autoprune.surgery.cut_model import CutModel

#: Of the search split, the part on which ablations are scored, and the samples that it has at least: usually, and where
#: these take longer than so many seconds.
_SHARE: Final = 1 / 8
_LEAST, _FEW, _LONG_S = 128, 32, 3.0


class Drives(Protocol):
    """As much of an executor as ablations need."""

    def drive(self, jobs: Iterator[Proposal | None], work: Evaluator) -> Iterator[Trial]: ...


#: By variable, the trial of it alone at its lowest level, failed ones too.
Ablations = Mapping[int, Trial]


def in_part(evaluator: Evaluator, *, hurried: bool) -> tuple[Evaluator, Mapping[str, Measurement]]:
    """An evaluator that scores on a part of the search split, and the dense model's scores on it.

    On the same samples a model and the dense one differ by little chance, and ablations only have to tell groups apart.
    hurried: the part is a smaller one where scoring takes long.
    """
    task = evaluator.task
    for least in (_FEW, _LEAST)[not hurried :]:
        part = task.with_split("search", thinned(task.split("search"), _SHARE, least))
        start = evaluator.clock.wall()
        try:
            scored = replace(evaluator, task=part).scores(CutModel(task.model), "search")
        except TaskError:  # a score that only the whole split has
            return evaluator, evaluator.dense
        if evaluator.clock.wall() - start > _LONG_S * least / _LEAST:
            break
    return replace(evaluator, task=part), scored


def ablate(
    space: SearchSpace, evaluator: Evaluator, executor: Drives, reporter: Reporter, limit_s: float
) -> dict[int, Trial]:
    """Evaluate variables alone, wherever the executor does that, as long as there is time."""
    whole = {variable.name: len(variable.levels) - 1 for variable in space.variables}
    plans = [space.plan({**whole, variable.name: 0}) for variable in space.variables]
    found: dict[int, Trial] = {}
    start = evaluator.clock.wall()

    def jobs() -> Iterator[Proposal]:
        for v in scattered(len(plans)):
            if evaluator.clock.wall() - start > limit_s:
                return
            yield Proposal(v, plans[v])

    with reporter.track("cutting groups alone", len(plans)) as advance:
        untimed = replace(evaluator, timed=False, budget=replace(evaluator.budget, limits=()))
        for trial in executor.drive(jobs(), untimed):
            advance("")
            found[trial.number] = trial
            if trial.state is not TrialState.COMPLETE:
                reporter.warn(f"{space.variables[trial.number].name} alone could not be cut: {trial.error}")
    if len(found) < len(plans):
        reporter.note(f"{len(plans) - len(found)} groups were not cut alone, for time: they are judged by the others")
    return found


def scattered(count: int) -> list[int]:
    """The numbers below `count` in an order whose beginnings lie all over them (van der Corput 1935)."""
    digits = max(count - 1, 1).bit_length()
    return [place for k in range(2**digits) if (place := int(f"{k:0{digits}b}"[::-1], 2)) < count]


def lost_importance(space: SearchSpace, ranking: Mapping[str, Tensor]) -> dict[int, float]:
    """By variable, the share of its groups' importance that goes at its lowest level; without those that no criterion
    ranks, such as layers."""
    found = {}
    for v, variable in enumerate(space.variables):
        shares = []
        for group, kept in zip(variable.groups, variable.levels[0], strict=True):
            if group.name in ranking and len(ranking[group.name]):
                ordered = ranking[group.name].clamp_min(0).sort().values  # dead slices come below all others
                shares.append(float(ordered[: len(ordered) - kept].sum() / ordered.sum().clamp_min(1e-12)))
        if shares:
            found[v] = sum(shares)
    return found
