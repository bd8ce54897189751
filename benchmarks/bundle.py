"""Bundles of a front: what a cascade gains, which deadlines are missed, and what drift does.

    python benchmarks/bundle.py                                # models of uniform plans, repaired, of both tasks
    python benchmarks/bundle.py --run runs/digits-1 runs/vit-1 # fronts of searches
    python benchmarks/bundle.py --quick                        # fewer models and requests

Of each front, at the batch whose latency counts and at a batch of one; bundles are settled on the calibration split,
all that is told was seen on the test split:

Times are processor time of the one thread that works, so that what others take of the machine does not count.

- cascade: its mean latency beside that of the cheapest single model that is no worse, request by request.
- deadline: of those that the smallest model met when it was run just before, the share that was missed; deadlines are
  drawn evenly from what the smallest needs to 1.5 times what the largest does. Beside it what the smallest itself
  misses when it is run once more, and the same by the clock on the wall, with what others take.
- drift: noise is added to the inputs; quality and share that is handed over, with a threshold that is fixed and with
  one that follows.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import torch
from torch import nn

import autoprune
from autoprune.core.clock import SystemClock
from autoprune.core.reporter import Silent
from autoprune.deployment.bundle_opening import open_bundle
from autoprune.deployment.requests import requests_of
from autoprune.errors import BudgetInfeasibleError
from autoprune.surgery.example import Example
from autoprune.tasks.batch import device_of
from autoprune.tasks.locate import locate
from autoprune.tasks.task import Task, rebatch

ROOT = Path(__file__).parents[1]
TASKS = ("digits", f"{ROOT / 'examples' / 'vit.py'}:task")
KEEPS = (0.15, 0.3, 0.5, 0.75)
NOISES = (0.0, 0.5, 1.0)
FOLLOW = 0.01
RUNS = 3
HEADS = {
    "cascade": [
        "front", "batch", "members", "handed over", "quality", "single model", "mean, ms", "single, ms",
        "mean of single's", "p99 of single's",
    ],
    "deadline": [
        "front", "batch", "clock", "met by the smallest", "missed", "missed by the smallest again", "by a larger one",
    ],
    "drift": ["front", "noise", "largest", "fixed", "handed over", "follows", "handed over"],
}  # fmt: skip


@dataclass(frozen=True)
class Front:
    """folders: of models, the cheapest first."""

    name: str
    task: Task
    folders: tuple[Path, ...]

    def models(self) -> dict[str, nn.Module]:
        return {path.name: autoprune.load(path, task=self.task) for path in self.folders}


def searched(run: Path) -> Front:
    front = json.loads((run / "front.json").read_bytes())
    recipe = json.loads((run / "models" / str(front["front"][0]["trial"]) / "plan.json").read_bytes())
    listed = [point["trial"] for point in front["front"]]
    listed = listed[: listed.index(front["best"]) + 1] if front["best"] in listed else listed
    task = locate(recipe["task"], Silent())
    task = replace(task, example_inputs=inputs_of(task, front["profiler"].get("batch", 0)))
    return Front(run.name, task, tuple(run / "models" / str(trial) for trial in listed))


def uniform(spec: str, keeps: tuple[float, ...], folder: Path) -> Front:
    task = locate(spec, Silent())
    found = []
    for keep in keeps:
        groups = autoprune.trace(task.model, task.example_inputs).open
        plan = {group.name: keep for group in groups if group.kind != "layer"}
        path = folder / task.name / f"{keep:g}"
        autoprune.evaluate(task, plan, reporter=Silent()).save(path)
        found.append(path)
    return Front(task.name, task, tuple(found))


def inputs_of(task: Task, batch: int) -> Any:
    example = rebatch(task.example, batch)
    return example.kwargs or example.args


class Processor(SystemClock):
    """Seconds that pass while this process works."""

    def wall(self) -> float:
        return self.cpu()


CLOCKS = {"processor": Processor(), "wall": SystemClock()}


def seconds_of(model: Any, call: Example, clock: SystemClock = CLOCKS["processor"]) -> float:
    start = clock.wall()
    with torch.no_grad():
        call.call(model)
    return clock.wall() - start


def means(models: dict[str, nn.Module], calls: list[Example]) -> dict[str, list[float]]:
    """Of each request the median of some runs, all models one after the other in changing order."""
    order, found = random.Random(0), {name: [] for name in models}
    for call in calls:
        taken: dict[str, list[float]] = {name: [] for name in models}
        for _ in range(RUNS):
            for name in order.sample(list(models), len(models)):
                taken[name].append(seconds_of(models[name], call))
        for name, each in taken.items():
            found[name].append(statistics.median(each))
    return found


def cascade(front: Front, folder: Path, count: int) -> list[str]:
    models, quality = front.models(), front.task.quality
    bundle = autoprune.load_bundle(folder, task=front.task)
    scores = {
        name: front.task.score(model, "test")[quality.name].value
        for name, model in {"bundle": bundle, **models}.items()
    }
    share = bundle.answered[-1] / bundle.samples
    calls = requests_of(front.task, models[front.folders[-1].name], "test", batch_of(front))[:count]
    times = means({"bundle": bundle, **models}, calls)
    sign = -1 if quality.lower_is_better else 1
    good = [name for name in models if sign * scores[name] >= sign * scores["bundle"]]
    single = min(good or models, key=lambda name: statistics.mean(times[name]) if good else -sign * scores[name])
    own, other = statistics.mean(times["bundle"]), statistics.mean(times[single])
    pair = json.loads((folder / "bundle.json").read_bytes())["members"]
    return [
        f"{pair[0]['name']} and {pair[-1]['name']}",
        f"{share:.0%}",
        f"{scores['bundle']:.4f}",
        f"{scores[single]:.4f} ({single})",
        f"{1e3 * own:.2f}",
        f"{1e3 * other:.2f}",
        f"{own / other:.0%}",
        f"{quantile(times['bundle']) / quantile(times[single]):.0%}",
    ]


def quantile(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=100)[98]


def deadline(front: Front, folder: Path, count: int, clock: str) -> list[str]:
    time_of = partial(seconds_of, clock=CLOCKS[clock])
    bundle = open_bundle(folder, front.task.model, None, CLOCKS[clock])
    card = json.loads((folder / "bundle.json").read_bytes())["members"]
    smallest = bundle.members[0]
    calls = requests_of(front.task, smallest, "test", batch_of(front))
    chance, met, missed, again = random.Random(0), 0, 0, 0
    low, high = card[0]["late"], 1.5 * card[-1]["late"]
    for place in range(count):
        call, left = calls[place % len(calls)], chance.uniform(low, high)
        if time_of(smallest, call) <= left:
            late = {}
            for model in chance.sample((bundle.asked(deadline=left), smallest), 2):
                late[model is smallest] = time_of(model, call) > left
            met, missed, again = met + 1, missed + late[False], again + late[True]
    larger = 1 - bundle.answered[0] / bundle.samples
    return [clock, str(met), f"{missed / met:.2%}", f"{again / met:.2%}", f"{larger:.0%}"]


def drift(front: Front, folder: Path) -> list[list[str]]:
    """Of each noise: quality of the largest, then quality and share for a fixed threshold and for one that follows."""
    rows, name = [], front.task.quality.name
    path = folder / "bundle.json"
    card = json.loads(path.read_bytes())
    for noise in NOISES:
        task = front.task.with_split("test", Noisy(front.task, noise))
        largest = autoprune.load(front.folders[-1], task=task)
        cells = [f"{noise:g}", f"{task.score(largest, 'test')[name].value:.4f}"]
        for follow in (0.0, FOLLOW):
            path.write_text(json.dumps({**card, "settings": {**card["settings"], "follow": follow}}))
            bundle = autoprune.load_bundle(folder, task=task)
            cells.append(f"{task.score(bundle, 'test')[name].value:.4f}")
            cells.append(f"{bundle.answered[-1] / bundle.samples:.0%}")
        rows.append(cells)
    path.write_text(json.dumps(card))
    return rows


@dataclass(frozen=True)
class Noisy:
    """The test split with noise on its inputs, in units of the split's own spread."""

    task: Task
    noise: float

    def __iter__(self) -> Iterator[Any]:
        chance = torch.Generator().manual_seed(0)
        for given, labels in self.task.split("test"):
            inputs = given.to(device_of(self.task.model))
            yield inputs + self.noise * inputs.std() * torch.randn(inputs.shape, generator=chance), labels


def batch_of(front: Front) -> int:
    return len(front.task.example.tensors[0])


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three models a front, fewer requests")
    parser.add_argument("--run", nargs="*", type=Path, help="run directories")
    parser.add_argument("--task", nargs="*", default=TASKS, help="whose models are cut to uniform plans, without --run")
    parser.add_argument("--drop", default="0", help="quality that a cascade may lose on the calibration split")
    options = parser.parse_args()
    torch.set_num_threads(1)
    requests, deadlines = (60, 300) if options.quick else (300, 3000)
    rows: dict[str, list[list[str]]] = {"cascade": [], "deadline": [], "drift": []}
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        keeps = KEEPS[1:] if options.quick else KEEPS
        fronts = map(searched, options.run) if options.run else (uniform(spec, keeps, place) for spec in options.task)
        for whole in fronts:
            for batch in (batch_of(whole), 1):
                front = replace(whole, task=replace(whole.task, example_inputs=inputs_of(whole.task, batch)))
                folder = place / "bundles" / f"{front.name}-{batch}"
                for policy, found in examined(front, batch, folder, options.drop, requests, deadlines):
                    rows[policy].append([front.name, *found])
                    print(policy, rows[policy][-1], flush=True)
    for name, found in rows.items():
        print(f"\n{name}\n\n{table(HEADS[name], found)}")


def examined(
    front: Front, batch: int, folder: Path, drop: str, requests: int, deadlines: int
) -> Iterator[tuple[str, list[str]]]:
    """Rows of one front at one batch, with the table that each belongs to."""
    for policy in ("cascade", "deadline"):
        path = folder / policy
        given = {"drop": drop} if policy == "cascade" else {}
        try:
            autoprune.bundle(front.folders, policy, options=given, output=path, task=front.task, reporter=Silent())
        except BudgetInfeasibleError as error:
            yield policy, [str(batch), error.received, *[""] * 7]
            continue
        if policy == "deadline":
            yield from ((policy, [str(batch), *deadline(front, path, deadlines, clock)]) for clock in CLOCKS)
            continue
        yield policy, [str(batch), *cascade(front, path, requests)]
        if batch == 1:
            yield from (("drift", cells) for cells in drift(front, path))


if __name__ == "__main__":
    main()
