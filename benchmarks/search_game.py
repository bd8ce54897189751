"""One task as a game of search: each plan is evaluated once, whoever asks for it, and charged each time.

A plan is cut, repaired and scored by the package itself; its latency is the median ratio of runs that alternate with
the dense model's, in this process: it varies by one to two per cent on a quiet machine, like the product's. All seconds
are the processor's, of one thread: whatever else runs, comparisons stay the same."""

from __future__ import annotations

import contextlib
import json
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from autoprune import registry
from autoprune.core.budget import Budget
from autoprune.core.clock import SystemClock
from autoprune.core.cluster import Cluster
from autoprune.core.forecast import Forecast
from autoprune.core.goal import SearchGoal
from autoprune.core.measurement import Measurement, RunSpec
from autoprune.core.metric import COSTS
from autoprune.core.plan import Plan
from autoprune.core.proposal import Proposal
from autoprune.core.reporter import Silent
from autoprune.core.trial import Timing, Trial, TrialState
from autoprune.cost_model import cost_forecast
from autoprune.engine.prepare import Prepared, prepare
from autoprune.finetuning.finetune import finetune
from autoprune.finetuning.teacher import Teacher
from autoprune.measure.counts import counts
from autoprune.measure.device import Device, DeviceSpec
from autoprune.measure.setup import Setup
from autoprune.options.defaults import CRITERION, REPAIR
from autoprune.recovery.calibrate import calibrate
from autoprune.samplers import ModelAccess
from autoprune.searching.candidate import Evaluator
from autoprune.searching.forecasting import foresee, goal_of
from autoprune.surgery import CutModel, twin
from autoprune.tasks.arrays import Batches
from autoprune.tasks.task import Task

#: Runs of a model, each next to one of the dense model. Fewer are less exact than the product is: then the fronts are
#: those of plans that by chance came out short.
PAIRS: int = 16
#: How much longer a front is measured again.
LONGER: int = 4
#: Samples that are enough to repair by. To score by, all of the search split is used: with a third of the 1050 of
#: digits,
#: the fronts of 200 evaluations were mostly those whose plans came out high by chance.
REPAIRED = 64
EPOCHS = 2


@dataclass
class Quick:
    """A device that measures in this process; all but that is the real one's."""

    device: Device
    dense: nn.Module

    def __getattr__(self, name: str) -> object:
        return getattr(self.device, name)

    def measure(self, cut: CutModel, bounds: object, ceilings: object = None) -> dict[str, Measurement]:
        share = self.share(cut.model)
        return {"latency": Measurement.exact("latency", share * self.seconds, "s")}

    def share(self, model: nn.Module, longer: int = 1) -> float:
        """The median ratio of neighbouring runs, so that what slows both of them cancels."""
        example = self.device.example
        with torch.inference_mode():
            worked(model, example)
            pairs = [(worked(model, example), worked(self.dense, example)) for _ in range(longer * PAIRS)]
        return float(np.median([ours / theirs for ours, theirs in pairs]))

    @property
    def seconds(self) -> float:
        return self.device.reference()["latency"].value

    @contextlib.contextmanager
    def computing(self):
        yield


def fewer(task: Task) -> Task:
    """The task with as many samples to repair by as are enough, where they are arrays."""
    whole = task.split("calibration")
    if not hasattr(whole, "inputs"):
        return task
    repaired = Batches(whole.inputs[:REPAIRED], whole.targets[:REPAIRED], whole.size)
    return task.with_split("calibration", repaired)


def worked(model: nn.Module, example) -> float:
    """Seconds of the processor that one forward pass takes."""
    start = time.thread_time()
    model(*example.args, **example.kwargs)
    return time.thread_time() - start


class Game:
    """A task, its dense model's measurements, its forecast, and what is known of plans; kept in a folder."""

    def __init__(self, task: Task, folder: Path) -> None:
        self.clock, self.folder = SystemClock(), folder
        task = fewer(task)
        self.prepared: Prepared = prepare(task, None)
        self.task, self.space = task, self.prepared.space
        executor = registry.load("executors", "inline").create(Cluster(), "local", Silent())
        setup = Setup("torch", RunSpec(), "")
        traced = self.prepared.traced
        device = executor.open_device(
            DeviceSpec(
                setup,
                task.model,
                example_inputs=task.example_inputs,
                traced=traced,
                seed=0,
                clock=self.clock,
                forecast=cost_forecast.costs,
            )
        )
        opened = device.open()
        self.quick = Quick(device, task.model)
        self.dense = {
            **task.score(task.model, "search"), "latency": opened["latency"], **counts(task.model, device.example)
        }  # fmt: skip
        made = calibrate(task.model, traced, criterion=CRITERION, repair=REPAIR, clock=self.clock, task=task)
        self.evaluator = Evaluator(
            task=task,
            traced=traced,
            ranking=made.ranking,
            device=self.quick,
            budget=Budget(()),
            dense=self.dense,
            clock=self.clock,
            repair=made.repair,
        )
        self.quality, self.objectives = task.quality.name, (task.quality, COSTS["latency"])
        self.goal: SearchGoal = goal_of(Budget(()), self.objectives, self.dense, "loss")
        self.teacher = Teacher.of(task)
        folder.mkdir(parents=True, exist_ok=True)
        self._known = {tuple(row["plan"]): row for row in lines(self._file)}
        self._tuned = {(tuple(row["plan"]), row["seed"]): row for row in lines(self._tuned_file)}
        self._again = {tuple(row["plan"]) for row in lines(folder / "again.jsonl")}
        self._unseen = {tuple(row["plan"]) for row in lines(folder / "unseen.jsonl")}
        self.forecast, self.ablations = self._foreseen(executor)
        self.usual = self._usual()

    @property
    def _file(self) -> Path:
        return self.folder / "plans.jsonl"

    @property
    def _tuned_file(self) -> Path:
        return self.folder / "tuned.jsonl"

    def evaluate(self, proposal: Proposal) -> tuple[Trial, float]:
        """The trial, and the seconds that it took whenever it was evaluated."""
        levels = self.space.places(proposal.plan)
        if levels not in self._known:
            self._known[levels] = self._evaluated(proposal.plan)
            append(self._file, self._known[levels])
        row = self._known[levels]
        if "error" in row:
            failed = Trial(proposal.number, proposal.plan, TrialState.FAILED, error=row["error"])
            return failed, row["seconds"]
        found = {
            self.quality: Measurement.exact(self.quality, row[self.quality], "1"),
            "loss": Measurement.exact("loss", row["loss"], "1"),
            "latency": Measurement.exact("latency", row["share"] * self.dense["latency"].value, "s"),
        }
        timing = Timing(0.0, row["seconds"], 0.0)
        return Trial(
            proposal.number, proposal.plan, state=TrialState.COMPLETE, measurements=found, excesses={}, timing=timing
        ), row["seconds"]

    @property
    def access(self) -> ModelAccess:
        """What a sampler that follows gradients is given, as a search gives it."""
        task = self.task
        return ModelAccess(
            model=lambda: twin(task.model, meta=False)[0],
            traced=self.prepared.traced,
            batches=task.batches,
            loss=lambda model, batch: task.loss(task.forward(model, batch), batch),
            ranking=self.evaluator.ranking,
        )

    def again(self, plan: tuple[int, ...]) -> None:
        """Measure a plan's model once more: of many measurements those that came out short are on fronts."""
        if plan not in self._again:
            self._again.add(plan)
            chosen = self.space.at(plan)
            share = 1.0 if self.evaluator.whole(chosen) else self.quick.share(self.evaluator.cut(chosen).model, LONGER)
            append(self.folder / "again.jsonl", {"plan": plan, "share": share})

    def unseen(self, plan: tuple[int, ...]) -> None:
        """Score a plan's model on samples that no search sees: those whose scores came out high are on fronts."""
        if plan not in self._unseen:
            self._unseen.add(plan)
            chosen = self.space.at(plan)
            model = self.task.model if self.evaluator.whole(chosen) else self.evaluator.cut(chosen).model
            append(self.folder / "unseen.jsonl", {"plan": plan, self.quality: self._generalised(model)[0]})

    def tuned(self, plan: tuple[int, ...], seed: int) -> dict[str, float]:
        """Quality of a plan's model after two epochs, on validation and test split together, of how many samples, and
        its loss on the split that a search sees."""
        if (plan, seed) not in self._tuned:
            chosen = self.space.at(plan)
            whole = self.evaluator.whole(chosen)
            model = self.task.model if whole else self.evaluator.cut(chosen).model
            row = {"plan": plan, "seed": seed, "share": 1.0 if whole else self.quick.share(model)}
            row |= self.scored(model) if whole else self.trained(model, seed)
            self._tuned[plan, seed] = row
            append(self._tuned_file, row)
        return self._tuned[plan, seed]

    def trained(self, model: nn.Module, seed: int) -> dict[str, float]:
        """The score of a model after two epochs with the dense one as its teacher."""
        finetune(CutModel(model), self.task, teacher=self.teacher, options=EPOCHS, seed=seed, advance=lambda _: None)
        return self.scored(model)

    def scored(self, model: nn.Module) -> dict[str, float]:
        quality, samples = self._generalised(model)
        return {"tuned": quality, "samples": samples, "loss": self.task.score(model, "search")["loss"].value}

    def _generalised(self, model: nn.Module) -> tuple[float, int]:
        """Quality on the validation and test split together, and of how many samples."""
        found = [self.task.score(model, split)[self.quality] for split in ("validation", "test")]
        count = sum(each.n for each in found)
        return sum(each.value * each.n for each in found) / count, count

    def _evaluated(self, plan: Plan) -> dict[str, object]:
        start, levels = time.process_time(), self.space.places(plan)
        trial = self.evaluator(Proposal(0, plan))
        seconds = time.process_time() - start
        if trial.state is not TrialState.COMPLETE:
            return {"plan": levels, "error": trial.error, "seconds": seconds}
        return {
            "plan": levels, self.quality: trial.value(self.quality), "loss": trial.value("loss"),
            "share": trial.value("latency") / self.dense["latency"].value, "seconds": round(seconds, 4),
        }  # fmt: skip

    def _foreseen(self, executor) -> tuple[Forecast, int]:
        path = self.folder / "forecast.json"
        if not path.exists():
            made = foresee(
                self.space,
                self.goal,
                evaluator=self.evaluator,
                limited=["latency"],
                executor=executor,
                seed=0,
                reporter=Silent(),
            )
            path.write_bytes(made.encoded())
        return Forecast.decoded(path.read_bytes()), len(self.space.variables)

    def _usual(self) -> float:
        """Median seconds of an evaluation of a random plan."""
        rng = np.random.default_rng(99)
        sizes = [len(variable.levels) for variable in self.space.variables]
        plans = [self.space.at([int(rng.integers(size)) for size in sizes]) for _ in range(15)]
        return statistics.median(self.evaluate(Proposal(0, plan))[1] for plan in plans)


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def append(path: Path, row: Mapping[str, object]) -> None:
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")
