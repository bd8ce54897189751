"""What it costs to run a trial, beyond evaluating and measuring it: asking, committing, handing out, telling.

    python benchmarks/overhead.py [--trials 200] [--groups 50] [--large 10000]

Every path searches the same space with the same sampler and trials that take no time; each trial's record is as large
as a real one. Then: how a large study reopens, and what two workers gain over one on evaluations that only compute.
"""

from __future__ import annotations

import argparse
import itertools
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from autoprune import registry
from autoprune.core.budget import Budget
from autoprune.core.clock import SystemClock
from autoprune.core.cluster import Cluster
from autoprune.core.effort import Effort
from autoprune.core.front import Front
from autoprune.core.goal import SearchGoal
from autoprune.core.measurement import Measurement
from autoprune.core.metric import COSTS, Metric
from autoprune.core.proposal import Proposal
from autoprune.core.reporter import Silent
from autoprune.core.trial import Trial, TrialState
from autoprune.executors._cluster import connect
from autoprune.samplers import SamplerContext, checked
from autoprune.search_spaces.space import SearchSpace
from autoprune.searching.coordinator import Coordinator
from autoprune.searching.progress import Progress
from autoprune.searching.study import Study
from autoprune.store.ledger import Ledger, open_ledger
from autoprune.store.run import RunDirectory
from autoprune.testing.sampler import small_context, small_space

OBJECTIVES = (Metric("accuracy", "1", lower_is_better=False, high=1.0), COSTS["latency"])


@dataclass(frozen=True)
class Pretender:
    """Work that takes `seconds` of one processor and gives a trial with a record of real size."""

    seconds: float = 0.0

    def __call__(self, proposal: Proposal) -> Trial:
        end = time.process_time() + self.seconds
        while time.process_time() < end:
            pass
        kept = [count for _, count in proposal.plan.keep]
        share = sum(kept) / (64 * len(kept))
        quality = 1 - 0.3 * (1 - share) ** 2 - 1e-3 * (hash(proposal.plan) % 100) / 100

        def made(key: str, value: float, unit: str) -> Measurement:
            return Measurement(
                key, value, unit=unit, low=0.9 * value, high=1.1 * value, n=120, device="a device", profiler="torch"
            )

        found = {"accuracy": made("accuracy", quality, "1")}
        for key in ("latency", "latency.relative", "latency.mean", "latency.p50", "latency.p90", "latency.p99"):
            found[key] = made(key, share, "s")
        for key in ("throughput", "params", "flops", "size"):
            found[key] = made(key, share, "1")
        return Trial(proposal.number, proposal.plan, TrialState.COMPLETE, found, {"latency": share / 0.6 - 1})

    def lost(self, proposal: Proposal, reason: str) -> Trial:
        return Trial(proposal.number, proposal.plan, TrialState.FAILED, error=reason)


def brief_of(space: SearchSpace, options: Mapping[str, str]) -> SamplerContext:
    """What a sampler is told of what `Pretender` answers."""
    context = small_context(space, options=options)
    whole = sum(space.dense().kept.values())
    (counted,) = context.required_forecast.costs
    terms = tuple(replace(term, values=tuple(value / whole for value in term.values)) for term in counted.terms)
    cost = replace(counted, metric="latency", terms=terms, error=0.05)
    forecast = replace(context.required_forecast, costs=(cost,))
    return replace(context, goal=SearchGoal(OBJECTIVES, (1.0, 1.0), (None, 0.6)), forecast=forecast)


def searched(folder: Path, ledger: Ledger, trials: int, groups: int, executor, work: Pretender, sampler: str):
    """Seconds between one told trial and the next, and the trials."""
    clock, space = SystemClock(), small_space(groups)
    directory = RunDirectory.create(folder, clock)
    module = registry.load("samplers", sampler)
    context = brief_of(space, checked(module, {}))
    made = module.create(context)
    study = Study(ledger, "overhead", space, OBJECTIVES, made)
    effort = Effort(trials=trials)
    coordinator = Coordinator(study, space, Budget(()), effort, clock)
    progress = Progress(context.goal, effort, clock, executor.workers)
    told = [clock.wall()]
    for trial in executor.drive(coordinator.proposals(), work):
        for taken in coordinator.tell(trial):
            directory.record(taken, "search")
            directory.log("trial", **progress.add(taken, executor.busy))
        told.append(clock.wall())
    directory.close()
    gaps = [b - a for a, b in itertools.pairwise(told)]
    return gaps, coordinator.trials


def row(name: str, gaps: list[float], skip: int = 10) -> str:
    late = sorted(gaps[skip:])
    p90 = late[int(0.9 * len(late))]
    return f"| {name} | {1e3 * statistics.median(late):.1f} | {1e3 * p90:.1f} | {len(late)} |"


def tune_path(trials: int, groups: int) -> list[float]:
    """Ray Tune's own path: a class Trainable on reused actors, two at a time, Optuna's search, one report a trial."""
    import logging

    os.environ |= {
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "RAY_AIR_NEW_OUTPUT": "0",
        "TUNE_WARN_THRESHOLD_S": "1000",
    }
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)

    class Nothing(tune.Trainable):
        def setup(self, config: dict) -> None:
            self.config = config

        def step(self) -> dict:
            share = sum(value for name, value in self.config.items() if name.startswith("g")) / (8 * groups)
            return {"accuracy": 1 - share**2, "latency": share, "done": True, "at": time.perf_counter()}

        def reset_config(self, new_config: dict) -> bool:
            self.config = new_config
            return True

    with tempfile.TemporaryDirectory() as folder:
        space = {f"g{k}": tune.randint(0, 8) for k in range(groups)}
        found = tune.Tuner(
            tune.with_resources(Nothing, {"cpu": 1}),
            param_space=space,
            tune_config=tune.TuneConfig(
                search_alg=OptunaSearch(metric=["accuracy", "latency"], mode=["max", "min"]),
                num_samples=trials,
                max_concurrent_trials=2,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(storage_path=folder, verbose=0, log_to_file=False),
        ).fit()
        at = sorted(result.metrics["at"] for result in found)
    return [b - a for a, b in itertools.pairwise(at)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--groups", type=int, default=50)
    parser.add_argument("--large", type=int, default=10_000)
    parser.add_argument("--sampler", default="nsga2")
    given = parser.parse_args()
    trials, groups = given.trials, given.groups
    inline = registry.load("executors", "inline").create(Cluster(), "local", Silent())
    ray = registry.load("executors", "ray").create(Cluster(workers=1), "local", Silent())
    print(f"milliseconds a trial, {groups} groups, sampler {given.sampler}, commits to disk included\n")
    print("| path | median | 90 % | trials |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir=Path(__file__).parents[1] / "runs") as place:
        root = Path(place)
        for name in ("a", "b", "c", "d"):
            (root / name).mkdir()
        stock = JournalFileBackend(str(root / "stock.journal"))
        paths = (
            ("inline, our journal", open_ledger(root / "a", "", new=True), inline, trials),
            ("ray, our journal", open_ledger(root / "b", "", new=True), ray, trials),
            ("inline, Optuna's JournalFileBackend", Ledger(JournalStorage(stock)), inline, min(trials, 60)),
            ("inline, SQLite", Ledger(RDBStorage(f"sqlite:///{root}/study.db")), inline, min(trials, 60)),
        )
        for k, (name, ledger, executor, count) in enumerate(paths):
            gaps, _ = searched(root / f"run{k}", ledger, count, groups, executor, Pretender(), given.sampler)
            print(row(name, gaps), flush=True)
            ledger.close()
        ray.close()
        connection = connect(Cluster(), 2, Silent())
        print(row("Ray Tune with OptunaSearch", tune_path(min(trials, 60), groups)), flush=True)
        connection.close()
        workers(root, groups)
        if given.large:
            large(root, given.large, groups)


def workers(root: Path, groups: int) -> None:
    """Candidates a minute of one worker and of two, interleaved, evaluations of half a second on one processor."""
    rates: dict[int, list[float]] = {1: [], 2: []}
    for turn in range(2):
        for count in (1, 2):
            executor = registry.load("executors", "ray").create(Cluster(workers=count), "local", Silent())
            folder = root / f"workers{turn}{count}"
            folder.mkdir()
            ledger = open_ledger(folder, "", new=True)
            gaps, _ = searched(folder / "run", ledger, 30, groups, executor, Pretender(0.5), "random")
            rates[count].append(60 * (len(gaps) - 4) / sum(gaps[4:]))
            executor.close()
    one, two = statistics.mean(rates[1]), statistics.mean(rates[2])
    print(f"\ncandidates a minute, evaluation-bound: {one:.0f} with one worker, {two:.0f} with two: {two / one:.2f} x")


def large(root: Path, trials: int, groups: int) -> None:
    """A large study: written, reopened, and its front."""
    folder = root / "large"
    folder.mkdir()
    ledger = open_ledger(folder, "", new=True)
    inline = registry.load("executors", "inline").create(Cluster(), "local", Silent())
    gaps, _ = searched(folder / "run", ledger, trials, groups, inline, Pretender(), "random")
    ledger.close()
    size = (folder / "study.journal").stat().st_size
    print(f"\n{trials} trials x {groups} groups: journal {size / 2**20:.0f} MiB, "
          f"{1e3 * statistics.median(gaps[-500:]):.1f} ms a trial at its end, "
          f"driver's memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB at most")  # fmt: skip
    start = time.perf_counter()
    ledger = open_ledger(folder, "", new=False)
    space = small_space(groups)
    study = Study(
        ledger,
        "overhead",
        space,
        OBJECTIVES,
        registry.load("samplers", "random").create(brief_of(space, {})),
        new=False,
    )
    opened = time.perf_counter()
    front = Front.of(study.restored.finished, OBJECTIVES)
    print(f"reopened in {opened - start:.1f} s; front of {len(front.trials)} in {time.perf_counter() - opened:.2f} s")


if __name__ == "__main__":
    main()
