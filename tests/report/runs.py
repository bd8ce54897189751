"""Run directories as a search leaves them, made without one: any number of trials, any names."""

import json
import math
import random
from dataclasses import asdict, replace

import numpy as np
import yaml
from safetensors.numpy import save_file

from autoprune.core.budget import Budget
from autoprune.core.effort import Effort
from autoprune.core.forecast import CostForecast, Forecast, ModuleCost, Term
from autoprune.core.front import Front
from autoprune.core.measurement import Measurement
from autoprune.core.metric import COSTS, Metric
from autoprune.core.plan import Plan
from autoprune.core.trial import Trial, TrialState
from autoprune.report.document import document

ACCURACY = Metric("accuracy", "1", lower_is_better=False, high=1.0)
OBJECTIVES = (ACCURACY, COSTS["latency"])
SIZE = 64


def measured(accuracy, seconds, params, split="search"):
    return {
        "accuracy": Measurement("accuracy", accuracy, "1", accuracy - 0.01, accuracy + 0.01, 1000, split=split),
        "latency": Measurement("latency", seconds, "s", seconds * 0.95, seconds * 1.05, 40, device="a device"),
        "latency.relative": Measurement("latency.relative", seconds / 0.012, "1", seconds / 0.0125, seconds / 0.0115),
        "params": Measurement.exact("params", float(params), "1"),
        "flops": Measurement.exact("flops", 900.0 * params, "1"),
    }


DENSE = measured(0.97, 0.012, 400_000)


def trials_of(count, names, layer, seed=0):
    """Candidates of which the larger ones are better, as a rule; every 17th failed, every 13th was dismissed."""
    chance = random.Random(seed)
    for number in range(count):
        kept = {name: chance.choice([16, 32, 48, SIZE]) for name in names} | {layer: chance.choice([0, 1, 1])}
        plan, share = Plan.of(kept), sum(kept[name] for name in names) / (SIZE * len(names))
        if number % 17 == 5:
            yield Trial(number, plan, TrialState.FAILED, error="the loss was <b>no number</b>")
        elif number % 13 == 7:
            yield Trial(number, plan, TrialState.SCREENED, error="it would take too long")
        else:
            seconds = 0.012 * share**2 * chance.uniform(0.9, 1.1)
            accuracy = 0.97 - 0.3 * (1 - share) ** 2 + chance.gauss(0, 0.004)
            excess = seconds * 1.05 / 0.005 - 1
            yield Trial(
                number, plan, TrialState.COMPLETE, measured(accuracy, seconds, 4e5 * share), {"latency": excess}
            )


def make_run(folder, *, trials=64, groups=12, names=None, task="a task", ended=True, seed=0):
    """A run directory of a search that has ended, or goes on; its path."""
    folder.mkdir(parents=True)
    layer = "body.1"
    names = names or ["stem", *(f"body.{number // 3}.conv{number % 3}" for number in range(groups - 1))]
    found = [
        replace(trial, proposer=("ends of the space", "dp", "", "local")[min(trial.number, 1 + trial.number % 3)])
        for trial in trials_of(trials, names, layer, seed)
    ]
    budget = Budget.parse("latency=5ms")
    levels = {name: [16, 32, 48, SIZE] for name in names} | {layer: [0, 1]}
    recipe = {
        "schema": 2, "task": task, "budget": ["latency<=5ms"], "objectives": ["accuracy", "latency"],
        "effort": asdict(Effort(trials=trials)),
        "criterion": "hessian", "repair": "sequential", "sampler": "auto", "seed": seed, "profiler": "torch",
        "search_space": {"family": "cnn", "levels": levels, "shared": {}},
        "model": "a model", "device_fingerprint": "a device", "versions": {"autoprune": "0.2.0"},
    }  # fmt: skip
    (folder / "run.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    shown = [{"name": name, "kind": "channel", "size": SIZE, "frozen_reason": ""} for name in names]
    shown += [{"name": layer, "kind": "layer", "size": 1, "frozen_reason": ""}]
    shown += [{"name": "head", "kind": "neuron", "size": 10, "frozen_reason": "it is an output of the model"}]
    subject = {
        "schema": 1, "qualities": {"accuracy": ACCURACY.range_to_json()}, "groups": shown,
        "coverage": {"told": "can be cut: 97.0% of the parameters, 98.0% of the operations"},
    }  # fmt: skip
    write(folder / "subject.json", subject)
    terms = tuple(Term((place,), (4,), (0.0, 2e-4, 5e-4, 8e-4)) for place in range(len(names)))
    increases = (*((0.3, 0.1, 0.02, 0.0),) * len(names), (0.05, 0.0))
    modules = tuple(ModuleCost(name, 2e-5, (term,)) for name, term in zip(names, terms, strict=True))
    latency = CostForecast("latency", 1e-3, terms, 0.01, modules)
    (folder / "forecast.json").write_bytes(Forecast((latency,), increases, 0.01, 3.0).encoded())
    save_file({name: 1 / (1 + np.arange(SIZE)) for name in names}, folder / "ranking.safetensors")
    write(folder / "dense.json", {key: each.to_json() for key, each in DENSE.items()})
    log = [{"seconds": 0.0, "event": "began"}, {"seconds": 8.0, "event": "stage", "stage": "forecast", "took": 8.0}]
    log += [
        {"seconds": 9.0 + place, "event": "trial", "trial": trial.number, "trials": place + 1,
         "hypervolume": round(1 - math.exp(-place / 20), 4)}
        for place, trial in enumerate(found)
    ]  # fmt: skip
    stages = [("search", trial) for trial in found]
    if ended:
        stages += [("final", trial) for trial in finished(folder, found, budget, task, seed)]
        log += [
            {"seconds": 99.0, "event": "epoch", "trial": trial.number, "epoch": epoch, "training_loss": 1 / epoch,
             "accuracy": 0.9 + epoch / 100}
            for stage, trial in stages if stage == "final" for epoch in range(1, 7)
        ]  # fmt: skip
        log += [{"seconds": 200.0, "event": "finished", "best": 0, "partial": False}]
    lines(folder / "measurements.jsonl", [trial.to_json(stage) for stage, trial in stages])
    lines(folder / "log.jsonl", log)
    return folder


def finished(folder, found, budget, task, seed):
    """The front after fine-tuning, written as front.json."""
    chosen = [*Front.of(found, OBJECTIVES).trials][-9:]
    trained = []
    for trial in chosen:
        latency = trial.value("latency")
        own = measured(trial.value("accuracy") + 0.01, latency, trial.value("params"), "validation")
        trained.append(Trial(trial.number, trial.plan, trial.state, own, trial.excesses))
    front = Front.of(trained, OBJECTIVES)
    test = {"dense": {"accuracy": DENSE["accuracy"]}, "best": {"accuracy": measured(0.96, 1, 1, "test")["accuracy"]}}
    made = document(
        run=str(folder), task=task, seed=seed, seconds=200.0, budget=budget, objectives=["accuracy", "latency"],
        devices={"": {"name": "torch", "device": "a device", "threads": 1, "batch": 8, "precision": "float32"}},
        trials=found, dense=measured(0.97, 0.012, 400_000, "validation"), front=front, test=test, partial=False,
        stages={"forecast": 8.0, "scoring": 40.0, "timing": 30.0, "training": 90.0},
    )  # fmt: skip
    write(folder / "front.json", made)
    return trained


def change(run, **fields):
    """Other values of fields of a run's front."""
    front = json.loads((run / "front.json").read_text())
    write(run / "front.json", front | fields)
    return run


def rename(run, metric, name):
    """Another name of a metric in all records of a run."""
    for path in [run / "run.yaml", *run.glob("*.json*")]:
        path.write_text(path.read_text().replace(metric, name))


def write(path, content):
    path.write_text(json.dumps(content))


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
