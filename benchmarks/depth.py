"""What is given back of dropped blocks when later layers add what these added to the residual stream.

    python benchmarks/depth.py [TASK ...] [--every 1]

Whole blocks are dropped, one and two neighbours at a time, and nothing else; `sequential` repairs what is left. Both
ways leave the same layers, so that they cost the same. Divergence is that of Kullback and Leibler, of the cut model's
answers on the search split from the dense model's, in nats.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from attention import divergence, loss_of

from autoprune.core.reporter import Silent
from autoprune.recovery.sequential import Sequential
from autoprune.surgery import Traced, apply, trace
from autoprune.tasks.locate import locate
from autoprune.tasks.task import Task

ROOT = Path(__file__).parents[1]
TASKS = (f"{ROOT}/examples/vit.py:task", f"{ROOT}/examples/real/smollm.py:task")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=TASKS)
    parser.add_argument("--every", type=int, default=1, help="of the blocks, each so many'th, with the next one")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    sys.path.insert(0, str(ROOT / "examples"))
    for name in chosen.tasks:
        compare(locate(name, Silent()), chosen.every)


def compare(task: Task, every: int) -> None:
    """A table of loss increase / divergence for each drop, and their means."""
    task.model.eval()
    traced = trace(task.model, task.example_inputs, outputs=task.outputs)
    blocks = [name for name, drop in traced.layers.items() if not drop.zeros]
    drops = [blocks[at : at + count] for count in (1, 2) for at in range(0, len(blocks) + 1 - count, every)]
    dense = loss_of(task, task.model)
    ways = {"not repaired": None, "each by itself": Sequential(task, replace(traced, layers={})),
            "for those dropped, too": Sequential(task, traced)}  # fmt: skip
    print(f"\n{task.name} (dense: loss {dense:.4f}): loss increase / divergence\n")
    print(f"| dropped | {' | '.join(ways)} |\n|---|{'---|' * len(ways)}", flush=True)
    found: dict[int, list[list[tuple[float, float]]]] = {1: [], 2: []}
    for dropped in drops:
        row = [scored(task, traced, dropped, way, dense) for way in ways.values()]
        found[len(dropped)].append(row)
        print(f"| {', '.join(dropped)} | {' | '.join(map(cell, row))} |", flush=True)
    for count, rows in found.items():
        means = [tuple(statistics.mean(pair[k] for pair in way) for k in (0, 1)) for way in zip(*rows, strict=True)]
        print(f"| mean of {len(rows)} of {count} | {' | '.join(map(cell, means))} |", flush=True)


def scored(
    task: Task, traced: Traced, dropped: Sequence[str], way: Sequential | None, dense: float
) -> tuple[float, float]:
    slices = {name: torch.arange(0) for name in dropped}
    model = apply(task.model, traced, slices).eval()
    if way is not None:
        way.repair(model, slices, {})
    return loss_of(task, model) - dense, divergence(task, model)


def cell(pair: Sequence[float]) -> str:
    return f"{pair[0]:+.4f} / {pair[1]:.4f}"


if __name__ == "__main__":
    main()
