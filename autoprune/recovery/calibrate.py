"""What is gathered once before models are cut: scores of slices and a repair. Knows which of them share a pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from torch import Tensor, nn

from autoprune import registry
from autoprune.calibration import moments
from autoprune.calibration.ranking import Ranking, rank
from autoprune.core.clock import Clock
from autoprune.core.reporter import SILENT, Reporter
from autoprune.criteria import Moments, needs_of
from autoprune.errors import UsageError
from autoprune.recovery.repairs import Repair
from autoprune.surgery import Traced
from autoprune.tasks.task import Task

#: The repair that needs no data, and runs no model.
WITHOUT: Final = "none"


@dataclass(frozen=True)
class Calibrated:
    """ranking: scores of slices by group; instead: groups that the criterion could not rank; repair: what is done to
    each cut model; passes: what was gathered in how many seconds; notes: what could not be, and what took its place."""

    ranking: Mapping[str, Tensor]
    instead: tuple[str, ...]
    repair: Repair
    passes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def calibrate(
    model: nn.Module,
    traced: Traced,
    criterion: str,
    repair: str,
    clock: Clock,
    task: Task | None,
    ranked: Mapping[str, Tensor] | None = None,
    reporter: Reporter = SILENT,
) -> Calibrated:
    """Gather what a criterion and a repair need, each in one pass over the calibration split of the model's task.

    ranked: scores of slices that are known already; the criterion is not asked again.

    Raises:
        UsageError: an unknown name, or no task where one is needed. TaskError: gradients that cannot be taken.
    """
    scoring, repairing = registry.load("criteria", criterion), registry.load("repairs", repair)
    if task is None and repair != WITHOUT:
        raise UsageError(
            expected=f"a task, as the repair '{repair}' looks at its data",
            received="a model alone",
            cure=f"pass task=, or repair='{WITHOUT}'",
        )
    passes, notes = [], []
    entering: Mapping[str, Moments] | None = None
    needs = {repairing.NEEDS, *(() if ranked is not None else needs_of(scoring))}
    if task is not None and "activations" in needs:
        start = clock.wall()
        entering = moments.gather(task, traced.reading, reporter)
        passes.append(f"inputs of {len(entering)} weights looked at in {clock.wall() - start:.1f} s")
        lost = traced.reading.keys() - entering.keys()
        if lost:
            why = "not used by the calibration split, not finite, or too wide"
            notes.append(f"inputs unknown ({why}): {', '.join(sorted(lost))}")
    start = clock.wall()
    if ranked is None:
        ranking = rank(scoring, model, traced=traced, task=task, known=entering, reporter=reporter)
        passes.append(f"slices ranked by {criterion} in {clock.wall() - start:.1f} s")
    else:
        ranking = Ranking(ranked)
    with reporter.track(f"preparing {repair}", 1) as advance:
        repairer = repairing.prepare(task, traced, entering or {})
        advance("")
    return Calibrated(ranking.scores, ranking.instead, repairer, tuple(passes), (*notes, *ranking.notes))
