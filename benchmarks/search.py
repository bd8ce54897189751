"""Search: every sampler, uniform plans and Torch-Pruning, on three tasks, by evaluations and by seconds.

    python benchmarks/search.py [--quick] [--tasks digits drawn vit] [--seeds 5] [--methods auto nsga2 ...] [--report]

Each run has 200 evaluations (with --quick 120), and is compared by seconds of the processor, too, up to those that so
many evaluations of random plans usually take; asking, telling and the forecast of methods that use one are charged
like evaluations, and its ablations count as evaluations.

Of a method's trials within a share of the dense latency the three of least loss (with --quick the one) are trained for
two epochs with the dense model as their teacher, as a search trains its finalists; the one whose loss is then the least
is scored on samples that nothing was chosen by. So are, untrained, all plans that were on a front for a while: of
accuracies of some hundred samples those that came out high are on fronts. Raw trials are kept under
`runs/benchmark-search`, from which an interrupted comparison goes on; `--report` prints what is there. Torch-Pruning
has a process of its own, which it may abort.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from global_taylor import steps
from optuna.storages import InMemoryStorage
from search_game import Game, append, lines
from search_report import entering, front, report, whole

from autoprune import registry
from autoprune.core.budget import Budget
from autoprune.core.effort import Effort
from autoprune.core.reporter import Silent
from autoprune.samplers import SamplerContext, checked, may_screen, needs_forecast, seed_count
from autoprune.searching.coordinator import Coordinator
from autoprune.searching.reseeded import sampler_for
from autoprune.searching.screen import Screen
from autoprune.searching.study import Study
from autoprune.store.ledger import Ledger
from autoprune.surrogate.initial_plans import initial_plans
from autoprune.tasks.locate import locate

ROOT = Path(__file__).parents[1]
TASKS = {"digits": "digits", "drawn": f"{ROOT}/benchmarks/drawn.py:task", "vit": f"{ROOT}/examples/vit.py:task"}
EVALUATIONS, QUICK_EVALUATIONS = 200, 120
#: How many times the seconds of so many usual evaluations a run may take to end with all of them.
SLACK = 2
SHARES = (0.8, 0.6, 0.4, 0.25)
#: Models that are trained for each share.
CONTENDERS, QUICK_CONTENDERS = 3, 1
METHODS = {
    "auto": ("auto", {}), "random": ("random", {}), "nsga2": ("nsga2", {}), "tpe": ("tpe", {}), "dp": ("dp", {}),
    "ddpg": ("ddpg", {}), "ddpg cold": ("ddpg", {"warm": "false"}), "uniform": ("uniform", {}),
    "evolution": ("evolution", {}), "annealing": ("annealing", {}), "netadapt": ("netadapt", {}),
    "nsga2 warm": ("nsga2", {"warm": "true"}), "tpe warm": ("tpe", {"warm": "true"}), "nsga3": ("nsga3", {}),
    "gp": ("gp", {}), "differentiable": ("differentiable", {}),
}  # fmt: skip
QUICK_METHODS = ("auto", "random", "nsga2", "tpe", "dp", "uniform")
BASELINE = "torch-pruning"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one task, one seed, six methods: some minutes")
    parser.add_argument("--tasks", nargs="*", choices=list(TASKS), default=None)
    parser.add_argument("--seeds", type=int, default=0)
    parser.add_argument("--methods", nargs="*", choices=list(METHODS), default=None)
    parser.add_argument("--report", action="store_true", help="run nothing")
    parser.add_argument("--baseline", action="store_true", help="run Torch-Pruning alone")
    chosen = parser.parse_args()
    folder = ROOT / "runs" / ("benchmark-search-quick" if chosen.quick else "benchmark-search")
    tasks = chosen.tasks or (["vit"] if chosen.quick else list(TASKS))
    if not chosen.report:
        torch.set_num_threads(1)
        sys.path.insert(0, str(ROOT / "examples"))
        games = {name: Game(locate(TASKS[name], Silent()), folder / name) for name in tasks}
        if chosen.baseline:
            for game in games.values():
                baseline(game)
            return
        methods = chosen.methods or (QUICK_METHODS if chosen.quick else tuple(METHODS))
        for seed in range(chosen.seeds or (1 if chosen.quick else 5)):
            for game in games.values():
                if chosen.quick:
                    compared(game, methods, seed, QUICK_EVALUATIONS, QUICK_CONTENDERS)
                else:
                    compared(game, methods, seed, EVALUATIONS, CONTENDERS)
        for name, game in games.items():
            if BASELINE not in {row["method"] for row in lines(game.folder / "chosen.jsonl")}:
                command = [sys.executable, __file__, "--baseline", "--tasks", name, *["--quick"] * chosen.quick]
                if code := subprocess.run(command, check=False).returncode:
                    print(f"{name} {BASELINE}: ended with {code}", flush=True)
            measured_again(game)
    report(folder, tasks, SHARES)


def compared(game: Game, methods: Sequence[str], seed: int, evaluations: int, contenders: int) -> None:
    """Runs that are not there yet, and the models that they lead to, trained."""
    done = {(row["method"], row["seed"]) for row in lines(game.folder / "runs.jsonl")}
    chosen = {(row["method"], row["seed"]) for row in lines(game.folder / "chosen.jsonl")}
    horizon = evaluations * game.usual
    for method in methods:
        start = time.perf_counter()
        if (method, seed) not in done:
            trials = played(game, method, seed, evaluations)
            ablations = game.ablations if looks_ahead(method) else 0
            append(game.folder / "runs.jsonl", {
                "method": method, "seed": seed, "horizon": horizon, "ablations": ablations, "trials": trials,
            })  # fmt: skip
            print(
                f"{game.task.name} {method} {seed}: {len(trials)} trials, {time.perf_counter() - start:.0f} s",
                flush=True,
            )
        if (method, seed) not in chosen:
            tune(game, method, seed, contenders)


def measured_again(game: Game) -> None:
    """The plans of all last fronts, timed once more; and those of all fronts on the way, on samples that none saw."""
    for run in lines(game.folder / "runs.jsonl"):
        if run["method"] == BASELINE:
            continue
        for trial in front(run["trials"]):
            game.again(tuple(trial[1]))
        for trial in [whole(run["trials"]), *entering(run["trials"])]:
            game.unseen(tuple(trial[1]))


def looks_ahead(method: str) -> bool:
    """Whether a method looks at a forecast."""
    name, given = METHODS[method]
    module = registry.load("samplers", name)
    return needs_forecast(module, checked(module, given))


class Charged:
    """Seconds of a run: those that pass, but for evaluations, which are charged what they took when they were made."""

    def __init__(self) -> None:
        self.spent, self._since = 0.0, time.process_time()

    def wall(self) -> float:
        return self.spent + time.process_time() - self._since

    def charge(self, seconds: float) -> None:
        self.spent += seconds

    def pause(self) -> float:
        """The moment; to be given to `go`."""
        return time.process_time()

    def go(self, paused: float) -> None:
        """What passed since then does not count."""
        self._since += time.process_time() - paused


def played(game: Game, method: str, seed: int, evaluations: int, seconds: float = 0.0) -> list[list]:
    """A run: [seconds, plan, quality, loss, share] of each trial. seconds: at most; 0: those of so many usual ones."""
    name, given = METHODS[method]
    module, clock = registry.load("samplers", name), Charged()
    options = checked(module, given)
    forecast = game.forecast if looks_ahead(method) else None
    if forecast is not None:
        clock.charge(forecast.seconds)
    context = SamplerContext(game.space, seed, game.goal, forecast, options, access=game.access)
    ledger = Ledger(InMemoryStorage())
    sampler = sampler_for(module.create, context, deterministic=False)
    study = Study(ledger, "benchmark", game.space, game.objectives, sampler, proxy_metric="loss")
    first, screen = [], None
    if forecast is not None:
        screen = Screen(forecast, game.goal, game.space).reason if may_screen(module) else None
        if count := seed_count(module, options):
            first = [game.space.at(plan) for plan in initial_plans(forecast, game.goal, game.space, seed, count)]
    left = (seconds or SLACK * evaluations * game.usual) - clock.wall()
    coordinator = Coordinator(
        study, game.space, Budget(()), Effort(evaluations, left), clock, seeds=first, screen=screen
    )
    found = []
    for proposal in coordinator.proposals():
        if proposal is None:
            break
        paused = clock.pause()
        trial, seconds = game.evaluate(proposal)
        clock.go(paused)
        clock.charge(seconds)
        coordinator.tell(trial)
        if not trial.error:
            values = [trial.value(game.quality), trial.value("loss"), trial.value("latency") / game.goal.dense[1]]
            found.append([round(clock.wall(), 3), game.space.places(proposal.plan), *(round(v, 5) for v in values)])
    return found


def tune(game: Game, method: str, seed: int, contenders: int) -> None:
    """Train what a run leads to at each share."""
    run = next(row for row in lines(game.folder / "runs.jsonl") if (row["method"], row["seed"]) == (method, seed))
    rows = []
    for share in SHARES:
        within = [trial for trial in run["trials"] if trial[4] <= share]
        if within:
            trained = sorted(within, key=lambda trial: trial[3])[:contenders]
            best = min(trained, key=lambda trial: game.tuned(tuple(trial[1]), 0)["loss"])
            rows.append([share, best[4], best[2], game.tuned(tuple(best[1]), 0)["tuned"]])
    append(game.folder / "chosen.jsonl", {"method": method, "seed": seed, "rows": rows})


def baseline(game: Game) -> None:
    """Torch-Pruning's models on its way down: scored as they are cut, and trained where they come within a share."""
    trials, rows, waiting, start = [], [], list(SHARES), time.process_time()
    trained = 0.0
    for model, again in steps(game):
        share = game.quick.share(model)
        scored = game.task.score(model, "search")
        trials.append(
            [time.process_time() - start - trained, [], scored[game.quality].value, scored["loss"].value, share]
        )
        while waiting and share <= waiting[0]:
            paused = time.process_time()
            rows.append([waiting.pop(0), share, scored[game.quality].value, game.trained(again(), 0)["tuned"]])
            trained += time.process_time() - paused
        if not waiting:
            break
    append(game.folder / "runs.jsonl", {
        "method": BASELINE, "seed": 0, "horizon": 0, "ablations": 0, "trials": trials,
    })  # fmt: skip
    append(game.folder / "chosen.jsonl", {"method": BASELINE, "seed": 0, "rows": rows})


if __name__ == "__main__":
    main()
