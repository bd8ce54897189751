"""Ways of training a cut model, at equal work: pruning schedules, and the kinds of gates of `learned`.

    python benchmarks/training.py [TASK ...] [--keep 0.7 0.5] [--seeds 3] [--epochs 12] [--only WORD ...] [--quick]

A uniform plan keeps .7 or .5 of each group, which leaves about a half or a quarter of the operations. Every way gets as
many operations for training as one-shot needs for its epochs, so that ways that train the dense model for a time get
fewer epochs. The smaller network is ranked by `hessian` and healed by `sequential`; scores are of the test split, mean
and standard deviation over seeds of the training.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from autoprune.core.clock import SystemClock
from autoprune.core.plan import Plan
from autoprune.core.reporter import Silent
from autoprune.errors import UsageError
from autoprune.finetuning.rate import find_rate
from autoprune.finetuning.teacher import Teacher
from autoprune.measure.counts import counts
from autoprune.options.defaults import CRITERION, REPAIR
from autoprune.options.training_options import TrainingOptions
from autoprune.recovery.calibrate import Calibrated, calibrate
from autoprune.surgery import CutModel, Traced, apply, kept_slices, trace
from autoprune.surgery.example import Example
from autoprune.tasks.locate import locate
from autoprune.tasks.task import Task
from autoprune.training.phases import PhaseTraining
from autoprune.training.schedules import phases_of
from autoprune.training.surgeon import Surgeon

ROOT = Path(__file__).parents[1]
TASKS = (
    "digits",
    f"{ROOT}/examples/vit.py:task",
    f"{ROOT}/examples/ctc.py:task",
    f"{ROOT}/examples/two_outputs.py:task",
)
KEPT = (0.7, 0.5)
GATES = ("hard-concrete", "straight-through", "attention")
#: Schedules with their options.
WAYS: tuple[tuple[str, dict[str, str]], ...] = (
    *((schedule, {}) for schedule in ("one-shot", "iterative", "gradual", "soft", "lottery-ticket", "regularized")),
    ("iterative", {"steps": "cubic", "rounds": "3"}),
    ("iterative", {"steps": "cubic", "last": "0.5"}),
    *(("learned", {"gate": gate}) for gate in GATES),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=TASKS)
    parser.add_argument("--keep", type=float, nargs="*", default=KEPT)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--only", nargs="*", default=(), help="words of ways' names")
    parser.add_argument("--quick", action="store_true", help="one task, one plan, one seed, eight epochs")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    sys.path.insert(0, str(ROOT / "examples"))
    tasks, kept, seeds, epochs = chosen.tasks, chosen.keep, chosen.seeds, chosen.epochs
    if chosen.quick:
        tasks, kept, seeds, epochs = tasks[:1], kept[-1:], 1, 8
    ways = [
        (schedule, given)
        for schedule, given in WAYS
        if not chosen.only or any(word in " ".join([schedule, *given.values()]) for word in chosen.only)
    ]
    print("| task | kept | way | epochs | seconds | quality before training | after | loss after |")
    print("|---|---|---|---|---|---|---|---|")
    for name in tasks:
        task = locate(name, Silent())
        traced = trace(task.model, task.example_inputs)
        for share in kept:
            compare(task, traced, share, seeds, epochs, ways)


def compare(
    task: Task, traced: Traced, share: float, seeds: int, epochs: int, ways: Sequence[tuple[str, Mapping[str, str]]]
) -> None:
    """One plan of one task, trained in these ways."""
    plan = Plan.of({g.name: max(round(share * g.steps), 1) * g.step for g in traced.open if g.kind != "layer"})
    calibrated = calibrate(task.model, traced, criterion=CRITERION, repair=REPAIR, clock=SystemClock(), task=task)
    cut = _cut(task, traced, calibrated, plan)
    quality = task.quality.name
    healed = task.score(cut.model, "test")[quality].value
    asked = TrainingOptions(epochs=epochs)
    rate = find_rate(cut, task, asked, 0, Silent()).rate
    surgeon = Surgeon(
        task=task,
        traced=traced,
        ranking=calibrated.ranking,
        criterion=CRITERION,
        repair=REPAIR,
        clock=SystemClock(),
    )
    work = epochs * _flops(task, cut)
    for schedule, given in ways:
        tried = replace(asked, rate=rate, schedule=schedule, schedule_options=given)
        options = _fitting(tried, plan, task, traced, work)
        if options is None:
            continue
        phases = phases_of(options, plan, traced.groups)
        found, seconds = [], 0.0
        for seed in range(seeds):
            first = _cut(task, traced, calibrated, phases[0].plan)
            start = time.process_time()
            run = PhaseTraining(first, phases, surgeon=surgeon, teacher=Teacher.of(task), options=options, seed=seed)
            for _ in range(options.epochs):
                run.epoch()
            seconds += (time.process_time() - start) / seeds
            found.append({name: each.value for name, each in task.score(run.model, "test").items()})
        columns = [
            task.name, f"{share:g}", " ".join([schedule, *given.values()]), str(options.epochs), f"{seconds:.0f}",
            f"{healed:.4f}",
            *(_told([each[name] for each in found if name in each]) for name in (quality, "loss")),
        ]  # fmt: skip
        print(f"| {' | '.join(columns)} |", flush=True)


def _cut(task: Task, traced: Traced, calibrated: Calibrated, plan: Plan) -> CutModel:
    """A model by the plan, ranked and healed as at the beginning of a search."""
    slices = kept_slices(traced, calibrated.ranking, plan)
    cut = CutModel(apply(task.model, traced, slices).eval(), plan, slices)
    if slices:
        calibrated.repair(cut)
        cut.model.eval()
    return cut


def _fitting(options: TrainingOptions, plan: Plan, task: Task, traced: Traced, work: float) -> TrainingOptions | None:
    """The most epochs whose phases take no more operations than there are; None where none do."""
    for epochs in range(options.epochs, 0, -1):
        tried = replace(options, epochs=epochs)
        try:
            phases = phases_of(tried, plan, traced.groups)
        except UsageError:
            return None
        spent = sum(each.epochs * _flops(task, _bare(task, traced, each.plan)) for each in phases)
        if spent <= work * 1.05:
            return tried
    return None


def _bare(task: Task, traced: Traced, plan: Plan) -> CutModel:
    """A model of the plan's shapes."""
    slices = {name: torch.arange(count) for name, count in plan.keep}
    return CutModel(apply(task.model, traced, slices).eval(), plan, slices)


def _flops(task: Task, cut: CutModel) -> float:
    return counts(cut.model, Example.of(task.example_inputs))["flops"].value


def _told(values: list[float]) -> str:
    if not values:
        return "-"
    found = torch.tensor(values, dtype=torch.float64)
    return f"{found.mean():.4f}" + (f" +- {found.std():.4f}" if len(values) > 1 else "")


if __name__ == "__main__":
    main()
