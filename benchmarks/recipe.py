"""Which recipe trains a cut model best, at equal steps: one thing is changed at a time.

    python benchmarks/recipe.py [TASK ...] [--keep 0.5 0.3] [--epochs 6] [--seeds 3] [--only WORD] [--quick]

A uniform plan keeps a share of each group; the model is ranked by `hessian` and healed by `sequential` as in a search,
and trained in one shot at the rate that a search finds. Scores are the mean of three splits that nothing was learned
from. Each seed decides the order of batches of all variants alike, so that differences are paired: a change is better
or worse where its mean difference is more than two of its standard errors.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from averaging import Average

from autoprune.core.clock import SystemClock
from autoprune.core.plan import Plan
from autoprune.core.reporter import SILENT
from autoprune.finetuning import finetune, learning_rates
from autoprune.finetuning.finetune import Training
from autoprune.finetuning.rate import find_rate
from autoprune.finetuning.teacher import Teacher
from autoprune.options.defaults import CRITERION, REPAIR
from autoprune.options.training_options import TrainingOptions
from autoprune.recovery.calibrate import calibrate
from autoprune.surgery import CutModel, Traced, apply, kept_slices, trace, twin
from autoprune.tasks import classification
from autoprune.tasks.locate import locate
from autoprune.tasks.task import Task

ROOT = Path(__file__).parents[1]
TASKS = (
    "digits",
    f"{ROOT}/examples/vit.py:task",
    f"{ROOT}/examples/ctc.py:task",
    f"{ROOT}/examples/two_outputs.py:task",
)


@dataclass(frozen=True, kw_only=True)
class Variant:
    """What differs from the default: options, the rate as a multiple of the found one, the share of the labels' loss,
    constants of modules, and how the training is made."""

    options: Mapping[str, Any] = field(default_factory=dict)
    rate: float = 1.0
    labels: float = 1.0
    constants: tuple[tuple[Any, str, float], ...] = ()
    training: type[Training] = Training


class Averaged(Training):
    """Of which the mean over the last steps is kept, and not what the last one left."""

    average: Average | None = None

    def before_step(self, step: int, steps: int) -> None:
        super().before_step(step, steps)
        self._place = step, steps

    def after_step(self) -> None:
        super().after_step()
        self.average = self.average or Average(self.model)
        self.average.add(*self._place)


class Frozen(Training):
    """In which batch normalisation keeps its statistics."""

    def before_step(self, step: int, steps: int) -> None:
        super().before_step(step, steps)
        for module in self.model.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.training = False


VARIANTS = {
    "default": Variant(),
    "weights averaged": Variant(training=Averaged),
    "batch norm frozen": Variant(training=Frozen),
    "no weight decay": Variant(constants=((finetune, "_DECAY", 0.0),)),
    "weight decay 0.1": Variant(constants=((finetune, "_DECAY", 0.1),)),
    "weight decay 1": Variant(constants=((finetune, "_DECAY", 1.0),)),
    "rate x 1/2": Variant(rate=0.5),
    "rate x 2": Variant(rate=2.0),
    "no warm-up": Variant(constants=((learning_rates, "_WARM", 0.0),)),
    "warm-up 0.3": Variant(constants=((learning_rates, "_WARM", 0.3),)),
    "not distilled": Variant(options={"distill": "none"}),
    "logits:4": Variant(options={"distill": "logits:4"}),
    "no labels": Variant(labels=0.0),
    "logits,features": Variant(options={"distill": "logits,features"}),
    "temperature 1": Variant(constants=((classification, "_TEMPERATURE", 1.0),)),
    "temperature 4": Variant(constants=((classification, "_TEMPERATURE", 4.0),)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=TASKS)
    parser.add_argument("--keep", type=float, nargs="*", default=(0.5, 0.3))
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=(), help="words of variants' names")
    parser.add_argument("--quick", action="store_true", help="one task, one plan, two seeds, two epochs, two variants")
    given = parser.parse_args()
    if given.quick:
        given.tasks, given.keep, given.seeds, given.epochs = given.tasks[:1], given.keep[-1:], 2, 2
        given.only = given.only or ("averaged",)
    torch.set_num_threads(1)
    sys.path.insert(0, str(ROOT / "examples"))
    chosen = {
        name: variant
        for name, variant in VARIANTS.items()
        if name == "default" or not given.only or any(word in name for word in given.only)
    }
    for name in given.tasks:
        task = locate(name, SILENT)
        traced = trace(task.model, task.example_inputs)
        for keep in given.keep:
            compare(task, traced, keep, given.epochs, given.seeds, chosen)


def compare(task: Task, traced: Traced, keep: float, epochs: int, seeds: int, variants: Mapping[str, Variant]) -> None:
    """One plan of one task: a row a variant."""
    cut, asked = cut_to(task, traced, keep), TrainingOptions(epochs=epochs)
    quality, found = task.quality, find_rate(cut, task, options=asked, seed=0, reporter=SILENT, traced=traced).rate
    before = [scored(task, model)[quality.name] for model in (task.model, cut.model)]
    print(f"\n{task.name}, {keep:g} kept: {quality.name} {before[0]:.4f}, healed {before[1]:.4f}; rate {found:g}\n")
    print(f"| variant | {quality.name} | difference | loss | difference | seconds |\n|---|---|---|---|---|---|")
    usual: list[dict[str, float]] = []
    for name, variant in variants.items():
        start = time.process_time()
        options = replace(asked, rate=found * variant.rate, **variant.options)
        scores = [trained(task, traced, cut, options, variant, seed) for seed in range(seeds)]
        took = (time.process_time() - start) / seeds
        usual = usual or scores
        columns = [told(scores, usual, metric, name == "default") for metric in (quality.name, "loss")]
        print(f"| {name} | {' | '.join(columns)} | {took:.1f} |", flush=True)


def trained(
    task: Task, traced: Traced, cut: CutModel, options: TrainingOptions, variant: Variant, seed: int
) -> dict[str, float]:
    """Scores of a copy of the model that was trained by a variant."""
    student = CutModel(twin(cut.model, meta=False)[0], cut.plan, cut.slices, cut.masks)
    with ExitStack() as stack:
        for module, constant, value in variant.constants:
            stack.enter_context(mock.patch.object(module, constant, value))
        taught = task.with_split("train", Shuffled(list(task.split("train"))))
        taught = replace(taught, loss=scaled(task.loss, variant.labels)) if variant.labels != 1 else taught
        torch.manual_seed(seed)
        training = variant.training(student, taught, Teacher.of(taught, options, traced), options, seed)
        for _ in range(options.epochs):
            training.epoch()
        if isinstance(training, Averaged) and training.average is not None:
            training.average.put()
    return scored(task, student.model)


@dataclass(frozen=True)
class Shuffled:
    """The same batches in another order each time, by torch's seed."""

    batches: Sequence[Any]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        return (self.batches[place] for place in torch.randperm(len(self.batches)).tolist())


def scaled(loss: Callable[..., torch.Tensor] | None, share: float) -> Callable[..., torch.Tensor] | None:
    return loss and (lambda outputs, batch: share * loss(outputs, batch))


def cut_to(task: Task, traced: Traced, keep: float, *, healed: bool = True) -> CutModel:
    """A share of every group of slices; where it is not healed, any slices will do."""
    groups = [group for group in traced.open if group.kind not in ("layer", "weight")]
    plan = Plan.of(
        {group.name: max(round(keep * group.steps) * group.step, group.step, group.floor) for group in groups}
    )
    if not healed:
        any_slices = {name: torch.arange(count) for name, count in plan.keep}
        return CutModel(apply(task.model, traced, any_slices).eval(), plan, any_slices)
    calibrated = calibrate(task.model, traced, criterion=CRITERION, repair=REPAIR, clock=SystemClock(), task=task)
    slices = kept_slices(traced, calibrated.ranking, plan)
    cut = CutModel(apply(task.model, traced, slices).eval(), plan, slices)
    calibrated.repair(cut)
    cut.model.eval()
    return cut


def scored(task: Task, model: torch.nn.Module) -> dict[str, float]:
    """The mean over splits that nothing was learned from, by metric."""
    found = [task.score(model, split) for split in ("search", "validation", "test")]
    return {metric.name: statistics.mean(each[metric.name].value for each in found) for metric in task.metrics}


def told(scores: list[dict[str, float]], usual: list[dict[str, float]], metric: str, default: bool) -> str:
    """The mean of a metric, and how far it is from the default's, with the standard error of that."""
    if metric not in scores[0]:
        return "- | -"
    mean = statistics.mean(each[metric] for each in scores)
    if default or len(scores) < 2:
        return f"{mean:.4f} | "
    apart = [one[metric] - other[metric] for one, other in zip(scores, usual, strict=True)]
    difference, error = statistics.mean(apart), statistics.stdev(apart) / len(apart) ** 0.5
    return f"{mean:.4f} | {difference:+.4f} +- {error:.4f}{' *' if abs(difference) > 2 * error else ''}"


if __name__ == "__main__":
    main()
