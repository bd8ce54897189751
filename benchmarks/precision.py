"""What int8 and pruning gain alone and together: fronts in float32, in both precisions, and the dense model in int8.

    python benchmarks/precision.py [TASK ...] [--trials 40] [--epochs 4] [--budget 60%]

Two searches a task with ONNX Runtime on one thread, of as many candidates: in float32, and with the precision as one
more variable. Qualities are of the validation split, of the graph that runs; latencies are shares of the dense model's
in float32, as fresh processes take pairs. The dense model in int8 is evaluated by itself.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import autoprune
from autoprune.core.plan import Plan
from autoprune.core.reporter import SILENT
from autoprune.tasks.locate import locate

ROOT = Path(__file__).parents[1]
TASKS = ("digits", str(ROOT / "examples" / "vit.py:task"))
#: Shares of the dense model's latency at which fronts are compared.
AT = (0.6, 0.5, 0.4, 0.3, 0.2)
BOTH = "float32,int8"

#: Share of the dense latency, quality.
Points = list[tuple[float, float]]


def searched(task: str, precision: str, options: argparse.Namespace) -> Points:
    """The finished models of a search."""
    found = autoprune.search(
        task,
        f"latency={options.budget}",
        profiler="onnxruntime",
        precision=precision,
        trials=options.trials,
        finetune_epochs=options.epochs,
        finalists=options.finalists,
        seed=options.seed,
        run=Path(options.output) / f"{Path(task).stem.partition(':')[0]}-{precision.replace(',', '-')}",
        reporter=SILENT,
    )
    quality = next(iter(found.document["qualities"]))
    return [
        (point.measurements["latency.relative"].value, point.measurements[quality].value)
        for point in found.front
        if point.feasible
    ]


def quantised(task: str, options: argparse.Namespace) -> Points:
    """The dense model in int8."""
    made = locate(task, SILENT)
    plan = Plan.of({}, "int8")
    found = autoprune.evaluate(
        made, plan, profiler="onnxruntime", precision=BOTH, split="validation", seed=options.seed, reporter=SILENT
    )
    quality = made.quality.name
    print(f"{task}: the dense model's {quality} {found.dense[quality].value:.4f}", flush=True)
    return [(found.measurements["latency.relative"].value, found.measurements[quality].value)]


def best(points: Points, at: float) -> str:
    """The best quality within a share of the dense latency."""
    within = [quality for share, quality in points if share <= at]
    return f"{max(within):.4f}" if within else "-"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=TASKS)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--finalists", type=int, default=5)
    parser.add_argument("--budget", default="60%")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", default="runs/precision")
    options = parser.parse_args(arguments)
    for task in options.tasks:
        fronts = {
            "int8 alone": quantised(task, options),
            "pruned": searched(task, "float32", options),
            "both": searched(task, BOTH, options),
        }
        print(f"{task}: {json.dumps(fronts)}", flush=True)
        print("latency within " + " ".join(f"{name:>12}" for name in fronts))
        for at in AT:
            print(f"{at:>14.0%} " + " ".join(f"{best(points, at):>12}" for points in fronts.values()), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
