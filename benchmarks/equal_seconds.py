"""What a search is worth beside a uniform cut that spends all of its seconds on training.

    python benchmarks/equal_seconds.py [TASK ...] [--flops 40 25] [--trials 48] [--epochs 6] [--seeds 3] [--quick]

A search for a share of the dense operations, fine-tuning included, takes so many seconds of processor time, in one
thread. The largest uniform plan within the same share is ranked by `hessian`, healed by `sequential`, and trained by
the same recipe for as many epochs as fit into those seconds, those for its ranking and its rate left out. Scores are of
the test split, mean and standard deviation over seeds.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from recipe import ROOT, TASKS, cut_to

import autoprune
from autoprune.core.reporter import SILENT
from autoprune.finetuning.finetune import Training
from autoprune.finetuning.rate import find_rate
from autoprune.finetuning.teacher import Teacher
from autoprune.measure.counts import counts
from autoprune.options.training_options import TrainingOptions
from autoprune.surgery import CutModel, Traced, trace, twin
from autoprune.surgery.example import Example
from autoprune.tasks.locate import locate
from autoprune.tasks.task import Task


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=TASKS)
    parser.add_argument("--flops", type=int, nargs="*", default=(40, 25))
    parser.add_argument("--trials", type=int, default=48)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="the last task, one share, one seed, few candidates")
    given = parser.parse_args()
    if given.quick:
        given.tasks, given.flops, given.seeds, given.trials, given.epochs = given.tasks[-1:], given.flops[:1], 1, 6, 2
    torch.set_num_threads(1)
    sys.path.insert(0, str(ROOT / "examples"))
    print("| task | flops | way | quality | loss | epochs | seconds |\n|---|---|---|---|---|---|---|", flush=True)
    for name in given.tasks:
        task = locate(name, SILENT)
        traced = trace(task.model, task.example_inputs)
        for share in given.flops:
            compare(task, traced, share, given)


def compare(task: Task, traced: Traced, share: int, given: argparse.Namespace) -> None:
    """Two rows: what a search finds, and the uniform plan."""
    searched, trained, spent, lengths = [], [], [], []
    for seed in range(given.seeds):
        start = time.process_time()
        searched.append(found_by_search(task, share, seed, given))
        spent.append(time.process_time() - start)
    cut, asked = uniform(task, traced, share), TrainingOptions(epochs=given.epochs)
    options = replace(asked, rate=find_rate(cut, task, options=asked, seed=0, reporter=SILENT, traced=traced).rate)
    for seed, seconds in enumerate(spent):
        _, took = after(task, traced, cut, replace(options, epochs=1), seed)
        lengths.append(max(round(seconds / took), 1))
        trained.append(after(task, traced, cut, replace(options, epochs=lengths[-1]), seed)[0])
    for way, scores, epochs in (("search", searched, given.epochs), ("uniform", trained, statistics.mean(lengths))):
        told = [spread([each[name] for each in scores if name in each]) for name in (task.quality.name, "loss")]
        row = [task.name, f"{share} %", way, *told, f"{epochs:.0f}", f"{statistics.mean(spent):.0f}"]
        print(f"| {' | '.join(row)} |", flush=True)


def found_by_search(task: Task, share: int, seed: int, given: argparse.Namespace) -> dict[str, float]:
    """Test scores of the best model of a search."""
    with tempfile.TemporaryDirectory() as folder:
        found = autoprune.search(
            task,
            budget=f"flops={share}%",
            trials=given.trials,
            finalists=1,
            finetune_epochs=given.epochs,
            seed=seed,
            run=Path(folder) / "run",
            reporter=SILENT,
        )
        return scored(task, found.best.load())


def uniform(task: Task, traced: Traced, share: int) -> CutModel:
    """The largest uniform plan within the share, healed."""
    example = Example.of(task.example_inputs)
    dense = counts(task.model, example)["flops"].value
    low, high = 0.02, 1.0
    for _ in range(6):
        middle = (low + high) / 2
        within = counts(cut_to(task, traced, middle, healed=False).model, example)["flops"].value <= share / 100 * dense
        low, high = (middle, high) if within else (low, middle)
    return cut_to(task, traced, low)


def after(
    task: Task, traced: Traced, cut: CutModel, options: TrainingOptions, seed: int
) -> tuple[dict[str, float], float]:
    """Test scores of a copy after training, and what that took."""
    student = CutModel(twin(cut.model, meta=False)[0], cut.plan, cut.slices, cut.masks)
    training = Training(student, task, Teacher.of(task, options, traced), options, seed)
    start = time.process_time()
    for _ in range(options.epochs):
        training.epoch()
    return scored(task, student.model), time.process_time() - start


def scored(task: Task, model: torch.nn.Module) -> dict[str, float]:
    return {name: found.value for name, found in task.score(model, "test").items()}


def spread(values: list[float]) -> str:
    if not values:
        return "-"
    mean = statistics.mean(values)
    return f"{mean:.4f}" if len(values) < 2 else f"{mean:.4f} +- {statistics.stdev(values):.4f}"


if __name__ == "__main__":
    main()
