"""What each regularizer is worth on a small convolutional network, beside one-shot and gradual cuts of equal epochs.

    python benchmarks/regularizers.py [--seeds 3] [--epochs 10] [--keep 0.3] [--strengths 0.1,10]

Digits of 8 x 8 with noise; each seed trains a dense network of its own, and .3 of each group is kept. The last phase's
model is ranked by `hessian` and healed by `sequential`, at the rate that a search would find. Scores are means and
standard deviations over seeds. Strengths beside the default ones are chosen by the search split, and told of by test.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

import autoprune
from autoprune.core.clock import SystemClock
from autoprune.core.plan import Plan
from autoprune.core.reporter import Silent
from autoprune.finetuning.rate import find_rate
from autoprune.finetuning.teacher import Teacher
from autoprune.options.defaults import CRITERION, REPAIR
from autoprune.options.training_options import TrainingOptions
from autoprune.recovery.calibrate import calibrate
from autoprune.surgery import CutModel, apply, kept_slices, trace
from autoprune.tasks.task import Task
from autoprune.training.phases import PhaseTraining
from autoprune.training.schedules import phases_of
from autoprune.training.surgeon import Surgeon

NOISE, DENSE_EPOCHS, RATE = 0.4, 20, 4e-3
REGULARIZERS = ("none", "l1", "l2", "group-lasso", "growing", "scale")
WAYS = (
    ("one-shot", "none"),
    ("gradual", "none"),
    *(("regularized", name) for name in REGULARIZERS),
    ("gradual", "group-lasso"),
    ("gradual", "growing"),
)


class Net(nn.Module):
    """Two residual stages: images (N, 1, 8, 8) to logits (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 24, 3, 1, 1), nn.BatchNorm2d(24), nn.ReLU())
        self.first = _body(24, 48, 24)
        self.down = nn.Sequential(nn.Conv2d(24, 48, 3, 2, 1), nn.BatchNorm2d(48), nn.ReLU())
        self.second = _body(48, 64, 48)
        self.head = nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self.down(torch.relu(x + self.first(x)))
        logits: Tensor = self.head(torch.relu(x + self.second(x)).mean((2, 3)))
        return logits


def _body(width: int, between: int, out: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(width, between, 3, 1, 1), nn.BatchNorm2d(between), nn.ReLU(),
        nn.Conv2d(between, out, 3, 1, 1), nn.BatchNorm2d(out),
    )  # fmt: skip


def dense(seed: int) -> Task:
    """A network that was trained from this seed, with its data."""
    digits = load_digits()
    generator = torch.Generator().manual_seed(seed)
    images = torch.from_numpy(digits.images).float()[:, None] / 8 - 1
    images = images + NOISE * torch.randn(images.shape, generator=generator)
    torch.manual_seed(seed)
    task = autoprune.Classification(
        Net(), data=(images, torch.from_numpy(digits.target)), example_inputs=(images[:4],), name="small-digits"
    )
    optimizer = torch.optim.AdamW(task.model.parameters(), RATE, weight_decay=0.05)
    length = sum(1 for _ in task.batches("train"))
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, DENSE_EPOCHS * length)
    task.model.train()
    for _ in range(DENSE_EPOCHS):
        for inputs, labels in task.batches("train"):
            optimizer.zero_grad()
            nn.functional.cross_entropy(task.model(inputs), labels).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            rates.step()
    task.model.eval()
    return task


class Bench:
    """One dense network, cut and trained in one way after the other."""

    def __init__(self, seed: int, keep: float, epochs: int) -> None:
        self.seed, self.epochs, self.task = seed, epochs, dense(seed)
        self.traced = trace(self.task.model, self.task.example_inputs)
        groups = [group for group in self.traced.open if group.kind != "layer"]
        self.plan = Plan.of({group.name: max(round(keep * group.steps), 1) * group.step for group in groups})
        self._calibrated = calibrate(
            self.task.model, self.traced, criterion=CRITERION, repair=REPAIR, clock=SystemClock(), task=self.task
        )
        self.healed = self.cut(self.plan)
        self._rate = find_rate(self.healed, self.task, TrainingOptions(epochs=epochs), seed, Silent()).rate

    def cut(self, plan: Plan) -> CutModel:
        """A model by a plan, ranked and healed."""
        slices = kept_slices(self.traced, self._calibrated.ranking, plan)
        cut = CutModel(apply(self.task.model, self.traced, slices).eval(), plan, slices)
        if slices:
            self._calibrated.repair(cut)
        cut.model.eval()
        return cut

    def trained(self, schedule: str, regularizer: str, options: Mapping[str, str]) -> tuple[float, ...]:
        """What `scored` says of the model after training."""
        surgeon = Surgeon(
            task=self.task, traced=self.traced, ranking=self._calibrated.ranking, criterion=CRITERION, repair=REPAIR,
            clock=SystemClock(),
        )  # fmt: skip
        asked = TrainingOptions(epochs=self.epochs, rate=self._rate, schedule=schedule)
        asked = replace(asked, regularizer=regularizer, regularizer_options=options)
        phases = phases_of(asked, self.plan, self.traced.groups)
        run = PhaseTraining(
            self.cut(phases[0].plan),
            phases,
            surgeon=surgeon,
            teacher=Teacher.of(self.task),
            options=asked,
            seed=self.seed,
        )
        for _ in range(self.epochs):
            run.epoch()
        return self.scored(run.model)

    def scored(self, model: nn.Module) -> tuple[float, ...]:
        """Loss of the search split, accuracy and loss of the test split."""
        search, test = self.task.score(model, "search"), self.task.score(model, "test")
        return search["loss"].value, test["accuracy"].value, test["loss"].value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--keep", type=float, default=0.3)
    parser.add_argument("--strengths", default="", help="try these, too")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    benches = [Bench(seed, chosen.keep, chosen.epochs) for seed in range(chosen.seeds)]
    print("| schedule | regularizer | loss, search | accuracy, test | loss, test |\n|---|---|---|---|---|")
    print(_row("dense", "", {}, [each.scored(each.task.model) for each in benches]), flush=True)
    print(_row("healed", "", {}, [each.scored(each.healed.model) for each in benches]), flush=True)
    ways: list[tuple[str, str, dict[str, str]]] = [(*way, {}) for way in WAYS]
    for strength in filter(None, chosen.strengths.split(",")):
        ways += [("regularized", name, {"strength": strength}) for name in REGULARIZERS[1:]]
    for schedule, regularizer, options in ways:
        found = [bench.trained(schedule, regularizer, options) for bench in benches]
        print(_row(schedule, regularizer, options, found), flush=True)


def _row(schedule: str, regularizer: str, options: Mapping[str, str], found: list[tuple[float, ...]]) -> str:
    told = " ".join(options.values())
    columns = torch.tensor(found, dtype=torch.float64).T
    values = [f"{each.mean():.4f} +- {each.std():.4f}" if len(each) > 1 else f"{float(each):.4f}" for each in columns]
    return f"| `{schedule}` | {regularizer} {told} | {' | '.join(values)} |"


if __name__ == "__main__":
    main()
