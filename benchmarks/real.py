"""The gallery's tasks: quality at shares of the dense latency, untrained, and after equal seconds for every method.

    python benchmarks/real.py [--quick] [--tasks ocr solar g2p smollm mnist1d recommender vit] [--seeds 3] [--report]

Every method has the same seconds of the processor for each model: those of a forecast and of 200 usual evaluations
(with --quick 20), twice. A search spends half of them on candidates and trains what it leads to in the rest; uniform
cuts, Torch-Pruning and dropped layers have nothing to look for, or little, and train for all that is left. Of a
search's trials within a share the one of least loss is trained; of a rival's models the first within it. All learn from
the dense model and the task's loss, at the rate that does best in a few steps, which counts. Scores are of the
validation and test splits together, by which nothing was chosen. Where a rival cannot cut a model, that is its row.

Raw rows are kept under `runs/benchmark-real`, from which an interrupted comparison goes on; `--report` prints what is
there. Rivals have processes of their own, which they may abort. FastNAS is NVIDIA ModelOpt's:

    pip install --no-deps nvidia-modelopt==0.47.0 omegaconf pulp nvidia-ml-py antlr4-python3-runtime==4.9.3
    pip install --no-deps torchprofile==0.0.4
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch
from search import METHODS, played
from search_game import Game, append, lines
from torch import nn

from autoprune.core.reporter import SILENT, Silent
from autoprune.errors import AutopruneError, describe
from autoprune.finetuning.finetune import Training
from autoprune.finetuning.rate import find_rate
from autoprune.options.training_options import TrainingOptions
from autoprune.surgery import CutModel, apply, twin
from autoprune.tasks.locate import locate

ROOT = Path(__file__).parents[1]
GALLERY = ("ocr", "solar", "g2p", "smollm", "mnist1d", "recommender")
TASKS = {name: f"{ROOT}/examples/real/{name}.py:task" for name in GALLERY} | {"vit": f"{ROOT}/examples/vit.py:task"}
QUICK_TASKS = ("mnist1d", "recommender")
SEARCHES = ("auto", "random", "nsga2", "tpe")
QUICK_SEARCHES = ("auto", "random")
SHARES = (0.8, 0.6, 0.4, 0.25)
QUICK_SHARES = (0.6, 0.4)
EVALUATIONS, QUICK_EVALUATIONS = 200, 20
#: How many times the usual evaluations a search may make in its seconds, as some take less.
MORE = 10
#: Steps that tell how long one takes.
PACE_STEPS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two tasks, one seed, fewer methods and evaluations")
    parser.add_argument("--tasks", nargs="*", choices=list(TASKS), default=None)
    parser.add_argument("--seeds", type=int, default=0)
    parser.add_argument("--report", action="store_true", help="run nothing")
    parser.add_argument("--rival", choices=list(RIVALS), help="run one rival alone, at its next seed")
    chosen = parser.parse_args()
    folder = ROOT / "runs" / ("benchmark-real-quick" if chosen.quick else "benchmark-real")
    tasks = chosen.tasks or list(QUICK_TASKS if chosen.quick else TASKS)
    evaluations = QUICK_EVALUATIONS if chosen.quick else EVALUATIONS
    torch.set_num_threads(1)
    sys.path.insert(0, str(ROOT / "examples"))
    for name in [] if chosen.report else tasks:
        try:
            game = Game(locate(TASKS[name], Silent()), folder / name)
        except AutopruneError as error:
            print(f"{name}: {error}", flush=True)
            continue
        seconds = game.forecast.seconds + evaluations * game.usual
        contest = Contest(game, seconds, QUICK_SHARES if chosen.quick else SHARES)
        for seed in range(chosen.seeds or (1 if chosen.quick else 3)):
            if chosen.rival:
                contest.rival(chosen.rival, seed)
                continue
            for method in QUICK_SEARCHES if chosen.quick else SEARCHES:
                contest.search(method, seed, MORE * evaluations)
            for rival in RIVALS:
                if not contest.known(rival, seed):
                    command = [sys.executable, __file__, "--rival", rival, "--tasks", name, "--seeds", str(seed + 1)]
                    if code := subprocess.run([*command, *["--quick"] * chosen.quick], check=False).returncode:
                        contest.keep(rival, seed, [], f"its process ended with {code}")
    if not chosen.rival:
        report(folder, tasks)


class Contest:
    """One task, on which every method has the same seconds."""

    def __init__(self, game: Game, searching: float, shares: Sequence[float]) -> None:
        self.game, self.searching, self.shares = game, searching, shares
        self.seconds = 2 * searching

    @property
    def _file(self) -> Path:
        return self.game.folder / "contest.jsonl"

    def known(self, method: str, seed: int) -> bool:
        return any((row["method"], row["seed"]) == (method, seed) for row in lines(self._file))

    def keep(self, method: str, seed: int, rows: Sequence[Sequence[float]], reason: str = "") -> None:
        """rows: [wanted share, share, quality untrained, quality trained, seconds of training] of each share."""
        dense = self.game.scored(self.game.task.model)["tuned"]
        lower = self.game.task.quality.lower_is_better
        row = {"method": method, "seed": seed, "rows": rows, "reason": reason, "dense": dense, "lower": lower}
        append(self._file, row | {"seconds": self.seconds})
        print(f"{self.game.task.name} {method} {seed}: {reason or rows}", flush=True)

    def search(self, method: str, seed: int, evaluations: int) -> None:
        """Search, and train what that leads to."""
        if self.known(method, seed):
            return
        rows, cut, space = [], self.game.evaluator.cut, self.game.space
        trials = played(self.game, method, seed, evaluations, self.searching)
        for wanted in self.shares:
            if within := [trial for trial in trials if trial[4] <= wanted]:
                best = min(within, key=lambda trial: trial[3])
                rows.append(self._trained(cut(space.at(best[1])).model, wanted, seed, self.searching))
        self.keep(method, seed, rows)

    def rival(self, name: str, seed: int) -> None:
        """Cut as a rival does, and train for all seconds that are left."""
        if self.known(name, seed):
            return
        waiting, rows, start, trained = list(self.shares), [], time.process_time(), 0.0
        try:
            for model in RIVALS[name](self.game):
                share = self.game.quick.share(model)
                while waiting and share <= waiting[0]:
                    spent = time.process_time() - start - trained
                    paused = time.process_time()
                    rows.append(self._trained(twin(model, meta=False)[0], waiting.pop(0), seed, spent))
                    trained += time.process_time() - paused
                if not waiting:
                    break
        except Exception as error:  # a rival's, on a model that is not made for it
            self.keep(name, seed, rows, describe(error))
            return
        self.keep(name, seed, rows, "" if rows else "it cuts nothing of this model")

    def _trained(self, model: nn.Module, wanted: float, seed: int, spent: float) -> list[float]:
        """The qualities of a model before and after it was trained for the seconds that are left."""
        game, before = self.game, self.game.scored(model)["tuned"]
        start, cut = time.process_time(), CutModel(model)
        share, left = game.quick.share(model), self.seconds - spent
        options = TrainingOptions(epochs=1)
        options = replace(options, rate=find_rate(cut, game.task, options, seed, SILENT).rate)
        batches = game.task.split("train")
        step = time.process_time()
        Training(CutModel(twin(model, meta=False)[0]), game.task, game.teacher, options, seed).burst(
            islice(batches, PACE_STEPS), PACE_STEPS
        )
        pace = (time.process_time() - step) / min(PACE_STEPS, len(batches))
        steps = max(int((left - (time.process_time() - start)) / pace), 1)
        epochs = -(-steps // len(batches))
        training = Training(
            cut, game.task, game.teacher, replace(options, epochs=epochs, steps=-(-steps // epochs)), seed
        )
        for _ in range(epochs):
            training.epoch()
        taken = round(time.process_time() - start, 1)
        return [wanted, round(share, 4), round(before, 5), round(game.scored(model)["tuned"], 5), taken]


def uniform(game: Game) -> Iterator[nn.Module]:
    """The same share of every group, less and less; repaired as a search repairs."""
    for tenths in range(19, 0, -1):
        plan = game.space.at([round((len(v.levels) - 1) * tenths / 20) for v in game.space.variables])
        yield game.evaluator.cut(plan).model


def layers(game: Game) -> Iterator[nn.Module]:
    """Whole layers dropped, those first that are missed least when they alone are; nothing is repaired."""
    task, traced = game.task, game.prepared.traced

    def without(dropped: Sequence[str]) -> nn.Module:
        return apply(task.model, traced, {name: torch.arange(0) for name in dropped}).eval()

    names = [group.name for group in traced.groups if group.kind == "layer" and not group.frozen_reason]
    missed = {name: task.score(without([name]), "search")["loss"].value for name in names}
    order = sorted(names, key=missed.__getitem__)
    for count in range(1, len(order) + 1):
        yield without(order[:count])


def torch_pruning(game: Game) -> Iterator[nn.Module]:
    """Torch-Pruning 1.6.1: global group Taylor in 40 steps, batch statistics renewed after each."""
    from global_taylor import steps

    return (model for model, _ in steps(game))


def fastnas(game: Game) -> Iterator[nn.Module]:
    """NVIDIA ModelOpt's FastNAS, which bounds operations: once for each of a few bounds."""
    import modelopt.torch.opt as mto
    import modelopt.torch.prune as mtp

    task = game.task
    mto.enable_huggingface_checkpointing()
    sign = -1 if task.quality.lower_is_better else 1
    steps = {"channel_divisor": 4, "feature_divisor": 4}
    space = {kind: {"*": steps} for kind in ("nn.Conv2d", "nn.BatchNorm2d", "nn.Linear")}
    for percent in (80, 60, 45, 35, 25, 18, 12):
        model, _ = mtp.prune(
            model=twin(task.model, meta=False)[0],
            mode=[("fastnas", space)],
            constraints={"flops": f"{percent}%"},
            dummy_input=tuple(game.quick.device.example.args),
            config={
                "data_loader": task.split("calibration"),
                "collect_func": lambda batch: batch[0],
                "score_func": lambda cut: sign * task.score(cut, "search")[game.quality].value,
                "checkpoint": None,
            },
        )
        yield model.eval()


RIVALS: dict[str, Callable[[Game], Iterator[nn.Module]]] = {
    "uniform": uniform,
    "layers dropped": layers,
    "torch-pruning": torch_pruning,
    "fastnas": fastnas,
}


def report(folder: Path, tasks: Sequence[str]) -> None:
    """A table a task: quality untrained, and trained, mean over seeds; the best of each column is bold."""
    for name in tasks:
        found = lines(folder / name / "contest.jsonl")
        if not found:
            continue
        last = found[-1]
        print(f"\n### {name} (dense {last['dense']:.4f}; {last['seconds']:.0f} s for each model)\n")
        print(f"| method | seeds | {' | '.join(f'{share:.0%}' for share in SHARES)} |\n|---|---|{'---|' * len(SHARES)}")
        order = dict.fromkeys((*METHODS, *RIVALS))
        means = {}
        for method in order:
            rows = [row for run in found if run["method"] == method for row in run["rows"]]
            means[method] = {
                share: tuple(statistics.mean(row[k] for row in rows if row[0] == share) for k in (2, 3))
                for share in SHARES
                if any(row[0] == share for row in rows)
            }
        pick = min if last["lower"] else max
        best = [pick((m[share][1] for m in means.values() if share in m), default=None) for share in SHARES]
        for method in order:
            runs = [run for run in found if run["method"] == method]
            if not runs:
                continue
            if not means[method]:
                print(f"| {method} | {len(runs)} | {runs[0]['reason']} |{' |' * (len(SHARES) - 1)}")
                continue
            cells = [_cell(means[method].get(share), top) for share, top in zip(SHARES, best, strict=True)]
            print(f"| {method} | {len(runs)} | {' | '.join(cells)} |")
        for run in found:
            if run["rows"] and run["reason"]:
                print(f"\n{run['method']} {run['seed']}: then {run['reason']}")


def _cell(pair: tuple[float, float] | None, best: float | None) -> str:
    if pair is None:
        return "-"
    trained = f"{pair[1]:.4f}"
    return f"{pair[0]:.4f}, {f'**{trained}**' if pair[1] == best else trained}"


if __name__ == "__main__":
    main()
