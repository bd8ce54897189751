"""How well scores before training foretell the order after it: plans of like cost, each scored and then trained.

    python benchmarks/order.py [TASK ...] [--plans 12] [--share 0.35] [--epochs 9]

Random plans within 7 % of a share of the dense model's operations are cut and repaired as a search does it, scored on
the search split, and trained by the default recipe, all at one rate: what does best in a few steps of the first plan.
Spearman's correlation is that of a score with what the trained model reaches on the validation and test splits
together. Seconds are the processor's, of one thread, a plan.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import nn

from autoprune.core.clock import SystemClock
from autoprune.core.plan import Plan
from autoprune.core.reporter import SILENT
from autoprune.engine.prepare import Prepared, prepare
from autoprune.finetuning.finetune import Training
from autoprune.finetuning.rate import find_rate
from autoprune.finetuning.teacher import Teacher
from autoprune.measure.counts import counts
from autoprune.options.defaults import CRITERION
from autoprune.options.training_options import TrainingOptions
from autoprune.recovery.calibrate import Calibrated, calibrate
from autoprune.surgery import CutModel, apply, kept_slices
from autoprune.tasks.locate import locate
from autoprune.tasks.task import Task

ROOT = Path(__file__).parents[1]
TASKS = (
    "digits",
    *(f"{ROOT}/examples/{name}.py:task" for name in ("vit", "two_outputs", "real/mnist1d", "real/g2p", "real/ocr")),
)
REPAIRS = ("none", "sequential", "distill")
#: How far the operations of a plan may be from what is wanted, as a share of that.
WITHIN = 0.07


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=TASKS)
    parser.add_argument("--plans", type=int, default=12)
    parser.add_argument("--share", type=float, default=0.35)
    parser.add_argument("--epochs", type=int, default=9)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    sys.path.insert(0, str(ROOT / "examples"))
    for name in chosen.tasks:
        prepared = prepare(locate(name, SILENT), None)
        prepared.task.model.eval()
        report(prepared.task, [*followed(prepared, chosen.plans, chosen.share, chosen.epochs)])


def followed(prepared: Prepared, count: int, share: float, epochs: int) -> Iterator[dict[str, tuple[float, ...]]]:
    """Of each plan, by stage: quality and loss (higher is better), and the seconds until then."""
    task = prepared.task
    ways = {
        repair: calibrate(
            task.model, prepared.traced, criterion=CRITERION, repair=repair, clock=SystemClock(), task=task
        )
        for repair in REPAIRS
    }
    teacher, options = Teacher.of(task), TrainingOptions(epochs=epochs)
    for place, plan in enumerate(alike(prepared, count, share)):
        found: dict[str, tuple[float, ...]] = {}
        for repair, way in ways.items():
            start = time.process_time()
            cut = repaired(prepared, way, plan)
            found[repair] = (*scored(task, cut.model, "search"), time.process_time() - start)
        cut = repaired(prepared, ways["sequential"], plan)
        if not place:
            options = replace(options, rate=find_rate(cut, task, options, 0, SILENT).rate)
        training, start = Training(cut, task, teacher, options, seed=0), time.process_time()
        for epoch in range(1, epochs + 1):
            training.epoch()
            if epoch in (1, 3):
                found[f"epoch {epoch}"] = (*scored(task, cut.model, "search"), time.process_time() - start)
        found["trained"] = (*scored(task, cut.model, "validation", "test"), time.process_time() - start)
        print(f"{task.name} {place}: {found}", file=sys.stderr, flush=True)
        yield found


def alike(prepared: Prepared, count: int, share: float) -> Iterator[Plan]:
    """Random plans: levels are drawn, and single ones moved until the operations are as many as wanted."""
    task, space, rng = prepared.task, prepared.space, np.random.default_rng(0)
    sizes = [len(variable.levels) for variable in space.variables]
    wanted = share * operations(prepared, task.model)
    for _ in range(count):
        levels = [int(rng.integers(size)) for size in sizes]
        while abs(off := operations(prepared, cut_to(prepared, space.at(levels))) / wanted - 1) > WITHIN:
            variable = int(rng.integers(len(sizes)))
            levels[variable] = min(max(levels[variable] - int(np.sign(off)), 0), sizes[variable] - 1)
        yield space.at(levels)


def operations(prepared: Prepared, model: nn.Module) -> float:
    return counts(model, prepared.task.example_inputs)["flops"].value


def cut_to(prepared: Prepared, plan: Plan) -> nn.Module:
    """The first slices of each group: as many operations as any others have."""
    kept = plan.kept
    slices = {group.name: torch.arange(kept[group.name]) for group in prepared.traced.open if group.name in kept}
    return apply(prepared.task.model, prepared.traced, slices).eval()


def repaired(prepared: Prepared, way: Calibrated, plan: Plan) -> CutModel:
    slices = kept_slices(prepared.traced, way.ranking, plan)
    cut = CutModel(apply(prepared.task.model, prepared.traced, slices).eval(), plan, slices)
    way.repair(cut)
    return cut


def scored(task: Task, model: nn.Module, *splits: str) -> tuple[float, float]:
    """Quality and loss, the higher, the better."""
    found = [task.score(model, split) for split in splits]
    quality, loss = (
        statistics.mean(each[name].value for each in found)
        for name in (task.quality.name, "loss" if "loss" in found[0] else task.quality.name)
    )
    return -quality if task.quality.lower_is_better else quality, -loss


def report(task: Task, plans: list[dict[str, tuple[float, ...]]]) -> None:
    """Correlations of each stage's quality and loss with the trained quality and loss."""
    trained = [plan["trained"] for plan in plans]
    spread = statistics.stdev(quality for quality, *_ in trained)
    print(f"\n### {task.name}: {len(plans)} plans; {task.quality.name} once trained: standard deviation {spread:.4f}\n")
    print(
        "| scored after | quality with quality | loss with quality | loss with loss | seconds |\n|---|---|---|---|---|"
    )
    for stage in [*plans[0]][:-1]:
        rows = [plan[stage] for plan in plans]
        cells = [
            f"{spearmanr([row[own] for row in rows], [row[final] for row in trained]).statistic:.2f}"
            for own, final in ((0, 0), (1, 0), (1, 1))
        ]
        print(f"| {stage} | {' | '.join(cells)} | {statistics.mean(row[2] for row in rows):.1f} |", flush=True)


if __name__ == "__main__":
    main()
