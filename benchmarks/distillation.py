"""What distillers gain: models cut to the same plan and trained for the same steps, by each of them.

    python benchmarks/distillation.py [TASK] [--keep 0.3] [--epochs 4] [--seeds 3]

A uniform plan, l1 as the criterion and no search, so that nothing but what is taught differs. Cut models are healed and
trained as a search does it, each way at the rate that does best in a few steps of it. Scores are of all samples that
nothing was learned from: the mean of three splits, and the standard deviation over seeds, which decide the order of
batches.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from dataclasses import replace
from pathlib import Path

import torch

import autoprune
from autoprune import registry
from autoprune.calibration.ranking import rank
from autoprune.core.clock import SystemClock
from autoprune.core.reporter import SILENT
from autoprune.finetuning.finetune import Training
from autoprune.finetuning.rate import find_rate
from autoprune.finetuning.teacher import Teacher
from autoprune.options.training_options import TrainingOptions
from autoprune.recovery.calibrate import calibrate
from autoprune.surgery import CutModel, Traced, apply, kept_slices, trace, twin
from autoprune.tasks.locate import locate
from autoprune.tasks.task import Task

ROOT = Path(__file__).parents[1]
DISTILLERS = (
    "none", "logits", "features", "attention", "relation", "logits,features", "logits,features:5", "features,attention",
)  # fmt: skip


def cut_to(task: Task, traced: Traced, keep: float, repair: str) -> CutModel:
    """A share of every group of slices, healed."""
    groups = [group for group in traced.open if group.kind not in ("layer", "weight")]
    plan = autoprune.Plan.of(
        {group.name: max(round(keep * group.steps) * group.step, group.step, group.floor) for group in groups}
    )
    ranking = rank(registry.load("criteria", "l1"), task.model, traced=traced).scores
    slices = kept_slices(traced, ranking, plan)
    cut = CutModel(apply(task.model, traced, slices).eval(), plan, slices)
    calibrate(task.model, traced, criterion="l1", repair=repair, clock=SystemClock(), task=task, ranked=ranking).repair(
        cut
    )
    cut.model.eval()
    return cut


def scored(task: Task, model: torch.nn.Module) -> dict[str, float]:
    """The mean over splits that nothing was learned from, by metric."""
    found = [task.score(model, split) for split in ("search", "validation", "test")]
    return {metric.name: statistics.mean(each[metric.name].value for each in found) for metric in task.metrics}


def main() -> None:
    """Print one row a distiller."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", nargs="?", default=f"{ROOT}/examples/vit.py:task")
    parser.add_argument("--keep", type=float, default=0.3)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rate", type=float, default=None, help="default: as tried")
    parser.add_argument("--repair", default="sequential")
    parser.add_argument("--distill", action="append", default=[])
    given = parser.parse_args()
    sys.path.insert(0, str(ROOT / "examples"))
    task = locate(given.task, SILENT)
    traced = trace(task.model, task.example_inputs)
    cut = cut_to(task, traced, given.keep, given.repair)
    plain = TrainingOptions(epochs=given.epochs)
    quality = task.quality.name
    before = [scored(task, model)[quality] for model in (task.model, cut.model)]
    print(f"{task.name}: dense {before[0]:.4f}, healed {before[1]:.4f}", flush=True)
    print("| taught | mean | spread | loss | rate |\n|---|---|---|---|---|", flush=True)
    for distill in given.distill or DISTILLERS:
        options = replace(plain, distill=distill)
        rate = given.rate or find_rate(cut, task, options=options, seed=0, reporter=SILENT, traced=traced).rate
        options = replace(options, rate=rate)
        scores, losses = [], []
        for seed in range(given.seeds):
            student = CutModel(twin(cut.model, meta=False)[0], cut.plan, cut.slices, cut.masks)
            torch.manual_seed(seed)
            training = Training(student, task, Teacher.of(task, options, traced), options, seed)
            for _ in range(given.epochs):
                training.epoch()
            found = scored(task, student.model)
            scores.append(found[quality])
            losses.append(found["loss"])
        spread = statistics.stdev(scores) if len(scores) > 1 else 0.0
        mean, loss = statistics.mean(scores), statistics.mean(losses)
        print(f"| `{distill}` | {mean:.4f} | {spread:.4f} | {loss:.3f} | {rate:g} |", flush=True)


if __name__ == "__main__":
    main()
