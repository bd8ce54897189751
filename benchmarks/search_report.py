"""Tables and a picture of a comparison of searches, from its raw trials."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from search_forecast import accuracy_of_forecast
from search_game import lines

from autoprune.core.front import hypervolume
from autoprune.core.goal import DEPTH

#: Places in a trial: [seconds, plan, accuracy, loss, share].
ACCURACY, SHARE = 2, 4
COLD = ("random", "nsga2", "tpe")


def report(folder: Path, tasks: Sequence[str], shares: Sequence[float]) -> None:
    """Print all that is there."""
    curves = {}
    for name in tasks:
        runs = lines(folder / name / "runs.jsonl")
        if not runs:
            continue
        dense = next(found for run in runs if (found := whole(run["trials"])))
        curves[name] = found = {}
        again = {tuple(row["plan"]): row["share"] for row in lines(folder / name / "again.jsonl")}
        unseen = {tuple(row["plan"]): row["accuracy"] for row in lines(folder / name / "unseen.jsonl")}
        for run in runs:
            found.setdefault(run["method"], []).append(curve(run, dense, again, unseen))
        horizon = max(run["horizon"] for run in runs)
        table(name, found, horizon, dense[ACCURACY])
        tuned(folder / name, shares)
        accuracy_of_forecast(folder / name, runs, dense)
    if curves:
        picture(curves, folder / "search.png")


def curve(run: dict, dense: list, again: dict[tuple, float], unseen: dict[tuple, float]) -> dict:
    """Seconds, evaluations and the front's volume after each trial, by what was seen and on unseen samples; and the
    last front's where its plans are timed once more."""
    trials, truly = run["trials"], unseen.get(tuple(dense[1]), np.nan)
    fronts = [front(trials[: k + 1]) for k in range(len(trials))]
    last = replaced(fronts[-1], SHARE, again)
    return {
        "seconds": np.array([trial[0] for trial in trials]),
        "evaluations": np.arange(1, len(trials) + 1) + run["ablations"], "ablations": run["ablations"],
        "volume": np.array([volume(each, dense[ACCURACY]) for each in fronts]),
        "unseen": np.array([volume(replaced(each, ACCURACY, unseen), truly) for each in fronts]),
        "again": volume(last, dense[ACCURACY]), "held": volume(replaced(last, ACCURACY, unseen), truly),
    }  # fmt: skip


def volume(trials: Sequence[list], dense: float) -> float:
    """The area of the box that trials dominate; nan where something of one is not known."""
    points = [(trial[SHARE], (dense - trial[ACCURACY]) / DEPTH) for trial in trials]
    return float("nan") if np.isnan(points).any() else float(hypervolume(points, (1.0, 1.0)))


def replaced(trials: Sequence[list], place: int, known: dict[tuple, float]) -> list[list]:
    """Trials, one figure of each by its plan; nan where it is not known, as of models that come of no plan."""
    return [[*trial[:place], known.get(tuple(trial[1]), np.nan), *trial[place + 1 :]] for trial in trials]


def whole(trials: Sequence[list]) -> list | None:
    """The dense model's trial."""
    return next((trial for trial in trials if trial[SHARE] == 1.0), None)


def front(trials: Sequence[list]) -> list[list]:
    """Trials that no other one beats on both accuracy and share."""
    found, best = [], -1.0
    for trial in sorted(trials, key=lambda trial: (trial[SHARE], -trial[ACCURACY])):
        if trial[ACCURACY] > best:
            best = trial[ACCURACY]
            found.append(trial)
    return found


def entering(trials: Sequence[list]) -> list[list]:
    """Trials that were on the front when they came."""
    return [trial for k, trial in enumerate(trials) if trial in front(trials[: k + 1])]


def at(found: dict, axis: str, place: float) -> float:
    """The volume at a place of an axis; 0 before the first trial."""
    k = int(np.searchsorted(found[axis], place, side="right"))
    return float(found["volume"][k - 1]) if k else 0.0


def table(name: str, found: dict[str, list[dict]], horizon: float, dense: float) -> None:
    evaluations, seconds = (40, 100, 200), (horizon / 4, horizon / 2, horizon)
    print(f"\n### {name} (dense accuracy {dense:.3f})\n\nMedian volume over seeds; the best of each column is bold.\n")
    heads = [*(f"{n} evaluations" for n in evaluations), *(f"{s:.0f} s" for s in seconds), "timed again", "unseen"]
    rows = {
        method: [
            *(statistics.median(at(run, "evaluations", n) for run in runs) for n in evaluations),
            *(statistics.median(at(run, "seconds", s) for run in runs) for s in seconds),
            *(statistics.median(run[last] for run in runs) for last in ("again", "held")),
        ]
        for method, runs in found.items()
    }
    best = np.max(np.nan_to_num(list(rows.values())), axis=0)
    print(f"| method | seeds | {' | '.join(heads)} |\n|---|{'---|' * (1 + len(heads))}")
    for method, row in sorted(rows.items(), key=lambda item: -item[1][-3]):
        cells = [
            f"**{v:.3f}**" if v >= top - 5e-4 else ("-" if np.isnan(v) else f"{v:.3f}")
            for v, top in zip(row, best, strict=True)
        ]
        print(f"| {method} | {len(found[method])} | {' | '.join(cells)} |")
    for cold in COLD:
        if cold in found and "auto" in found:
            counts = [reached(found["auto"], found[cold], by) for by in ("volume", "unseen")]
            print(f"\nauto reaches what {cold} has in the end after {counts[0]}; on unseen samples after {counts[1]}")
    print()


def reached(ours: list[dict], theirs: list[dict], by: str) -> str:
    """Median evaluations, ablations included, until our runs have the median final volume of theirs; - if unknown."""
    wanted = statistics.median(run[by][-1] for run in theirs)
    if np.isnan(wanted):
        return "-"
    count = statistics.median(run["evaluations"][-1] for run in theirs)
    places = [run["evaluations"][np.argmax(run[by] >= wanted)] if max(run[by]) >= wanted else np.inf for run in ours]
    middle = statistics.median_high(places)
    alone = "more than all of its" if np.isinf(middle) else f"{middle:.0f}"
    return f"{alone} evaluations (theirs: {wanted:.3f} after {count:.0f})"


def tuned(folder: Path, shares: Sequence[float]) -> None:
    rows: dict[str, dict[float, list[float]]] = {}
    for each in lines(folder / "chosen.jsonl"):
        for share, _, _, accuracy in each["rows"]:
            rows.setdefault(each["method"], {}).setdefault(share, []).append(accuracy)
    if not rows:
        return
    samples = max((row["samples"] for row in lines(folder / "tuned.jsonl")), default=1)
    print(f"\nAccuracy after two epochs within a share of dense latency (mean over seeds; {samples} samples)\n")
    print(f"| method | {' | '.join(f'{s:.0%}' for s in shares)} |\n|---|{'---|' * len(shares)}")
    means = {m: [statistics.mean(row[s]) if s in row else float("nan") for s in shares] for m, row in rows.items()}
    best = np.max(np.nan_to_num(list(means.values())), axis=0)
    for method, row in sorted(means.items(), key=lambda item: -np.nansum(item[1])):
        cells = [
            f"**{v:.4f}**" if v >= top - 5e-5 else ("-" if np.isnan(v) else f"{v:.4f}")
            for v, top in zip(row, best, strict=True)
        ]
        print(f"| {method} | {' | '.join(cells)} |")
    errors = [f"{np.sqrt(b * (1 - b) / samples):.4f}" if b > 0 else "-" for b in best]
    print(f"| standard error of one | {' | '.join(errors)} |")


def picture(curves: dict[str, dict[str, list[dict]]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    methods = list(dict.fromkeys(method for found in curves.values() for method in found))
    figure, axes = plt.subplots(len(curves), 2, figsize=(12, 3.6 * len(curves)), squeeze=False)
    for row, (name, found) in zip(axes, curves.items(), strict=True):
        low = 1.0
        for axis, places in zip(row, ("evaluations", "seconds"), strict=True):
            for method, runs in found.items():
                k = methods.index(method)
                end = max(float(run[places][-1]) for run in runs)
                grid = np.linspace(0, end, 200)
                middle = np.array([statistics.median(at(run, places, x) for run in runs) for x in grid])
                shown = middle > 0
                low = min(low, float(middle[len(middle) // 5]) or 1.0)
                style = {"color": f"C{k % 10}", "linewidth": 1.1}
                if method == "auto":
                    style = {"color": "black", "linewidth": 2.2}
                axis.plot(grid[shown], middle[shown], label=method, linestyle=("-", "--", ":")[k // 10 % 3], **style)
            axis.set(title=name, xlabel=places, ylabel="volume of the front")
            axis.grid(alpha=0.3)
        for axis in row:
            axis.set_ylim(max(low - 0.05, 0), None)
    most = max(range(len(curves)), key=lambda place: len(list(curves.values())[place]))
    axes[most][1].legend(fontsize=7, ncols=2)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    print(f"\npicture: {path}")
