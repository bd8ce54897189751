"""Tables and a picture of a comparison of searches, from its raw trials."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from search_game import lines

from autoprune.core.aim import DEPTH
from autoprune.core.front import hypervolume

COLD = ("random", "nsga2", "tpe")


def report(folder: Path, tasks: Sequence[str], shares: Sequence[float]) -> None:
    """Print all that is there."""
    curves = {}
    for name in tasks:
        runs = lines(folder / name / "runs.jsonl")
        if not runs:
            continue
        dense = next(trial[2] for run in runs for trial in run["trials"] if trial[4] == 1.0)
        curves[name] = found = {}
        again = {tuple(row["plan"]): row["share"] for row in lines(folder / name / "again.jsonl")}
        for run in runs:
            found.setdefault(run["method"], []).append(curve(run, dense) | {"again": remeasured(run, dense, again)})
        horizon = max(run["horizon"] for run in runs)
        table(name, found, horizon, dense)
        tuned(folder / name, shares)
    if curves:
        picture(curves, folder / "search.png")


def curve(run: dict, dense: float) -> dict[str, np.ndarray]:
    """Seconds, evaluations and volume after each trial."""
    cost = np.array([trial[4] for trial in run["trials"]])
    loss = np.array([(dense - trial[2]) / DEPTH for trial in run["trials"]])
    volumes = [volume(cost[: k + 1], loss[: k + 1]) for k in range(len(cost))]
    seconds = np.array([trial[0] for trial in run["trials"]])
    return {
        "seconds": seconds, "volume": np.array(volumes),
        "evaluations": np.arange(1, len(cost) + 1) + run["ablations"], "ablations": run["ablations"],
    }  # fmt: skip


def volume(cost: np.ndarray, loss: np.ndarray) -> float:
    """The area of the box that points dominate."""
    return hypervolume(zip(cost.tolist(), loss.tolist(), strict=True), (1.0, 1.0))


def front(run: dict) -> list[list]:
    """Trials that no other one of the run beats on both accuracy and share."""
    found, best = [], -1.0
    for trial in sorted(run["trials"], key=lambda trial: (trial[4], -trial[2])):
        if trial[2] > best:
            best = trial[2]
            found.append(trial)
    return found


def remeasured(run: dict, dense: float, again: dict[tuple, float]) -> float:
    """Volume of a run's last front, its plans measured once more; Torch-Pruning's models as they were measured."""
    last = front(run)
    cost = np.array([again.get(tuple(trial[1]), trial[4] if not trial[1] else np.nan) for trial in last])
    if np.isnan(cost).any():
        return float("nan")
    return float(volume(cost, np.array([(dense - trial[2]) / DEPTH for trial in last])))


def at(found: dict, axis: str, place: float) -> float:
    """The volume at a place of an axis; 0 before the first trial."""
    k = int(np.searchsorted(found[axis], place, side="right"))
    return float(found["volume"][k - 1]) if k else 0.0


def table(name: str, found: dict[str, list[dict]], horizon: float, dense: float) -> None:
    evaluations, seconds = (40, 100, 200), (horizon / 4, horizon / 2, horizon)
    print(f"\n### {name} (dense accuracy {dense:.3f})\n\nMedian volume over seeds; the best of each column is bold.\n")
    heads = [*(f"{n} evaluations" for n in evaluations), *(f"{s:.0f} s" for s in seconds), "measured again"]
    rows = {
        method: [
            *(statistics.median(at(run, "evaluations", n) for run in runs) for n in evaluations),
            *(statistics.median(at(run, "seconds", s) for run in runs) for s in seconds),
            statistics.median(run["again"] for run in runs),
        ]
        for method, runs in found.items()
    }
    best = np.max(list(rows.values()), axis=0)  # nan, and nothing bold, where one was not measured again
    print(f"| method | seeds | {' | '.join(heads)} |\n|---|{'---|' * (1 + len(heads))}")
    for method, row in sorted(rows.items(), key=lambda item: -item[1][-2]):
        cells = [
            f"**{v:.3f}**" if v >= top - 5e-4 else ("-" if np.isnan(v) else f"{v:.3f}")
            for v, top in zip(row, best, strict=True)
        ]
        print(f"| {method} | {len(found[method])} | {' | '.join(cells)} |")
    for cold in COLD:
        if cold in found and "auto" in found:
            print(
                f"\nauto reaches what {cold} has in the end after {reached(found['auto'], found[cold])} evaluations",
                end="",
            )
    print()


def reached(ours: list[dict], theirs: list[dict]) -> str:
    """Median evaluations, ablations counted and not, until our runs have the median final volume of theirs."""
    wanted = statistics.median(run["volume"][-1] for run in theirs)
    count = statistics.median(len(run["volume"]) for run in theirs)
    places = [int(np.argmax(run["volume"] >= wanted)) if run["volume"][-1] >= wanted else None for run in ours]
    if sum(place is None for place in places) > len(places) / 2:
        return f"more than all of its (theirs: {wanted:.3f} after {count:.0f})"
    if None in places:  # the median is that of those who got there, or none
        places = sorted(p for p in places if p is not None)[: len(ours) // 2 + 1]
        alone = places[-1] + 1
    else:
        alone = statistics.median(place + 1 for place in places)
    ablations = ours[0]["ablations"]
    return f"{alone:.0f} ({alone + ablations:.0f} with its ablations; theirs: {wanted:.3f} after {count:.0f})"


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
