"""What sorted axes of attention give back: the head dimension cut alone in all layers, with and without them.

    python benchmarks/attention.py [TASK ...] [--repairs sequential,reconstruct]

Without tasks: the transformers of `examples/`. Only the head dimension is cut, and nothing is trained. Divergence is
that of Kullback and Leibler, of the cut model's answers on the search split from the dense model's, in nats.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from autoprune.core.clock import SystemClock
from autoprune.core.plan import Plan
from autoprune.core.reporter import Silent
from autoprune.options.defaults import CRITERION
from autoprune.recovery.calibrate import calibrate
from autoprune.surgery import CutModel, Traced, apply, kept_slices, trace
from autoprune.tasks.locate import locate
from autoprune.tasks.task import Task

ROOT = Path(__file__).parents[1]
TASKS = tuple(f"{ROOT}/examples/{name}.py:task" for name in ("vit", "bert", "llama"))
SHARES = (0.75, 0.5, 0.25)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=TASKS)
    parser.add_argument("--repairs", default="sequential,reconstruct")
    chosen = parser.parse_args()
    sys.path.insert(0, str(ROOT / "examples"))
    for name in chosen.tasks:
        task = locate(name, Silent())
        task.model.eval()
        traced = trace(task.model, task.example_inputs, outputs=task.outputs)
        free = {key: basis for key, basis in traced.bases.items() if basis.free}
        products = {key: basis for key, basis in free.items() if any(block.against for block in basis.blocks)}
        dense = loss_of(task, task.model)
        print(f"\n{task.name} (dense: loss {dense:.4f}): loss increase / divergence by share of the head dimension\n")
        print(f"| repair | axes | {' | '.join(f'{share:.0%}' for share in SHARES)} |\n|---|---|{'---|' * len(SHARES)}")
        for repair in chosen.repairs.split(","):
            for axes, bases in (
                ("as they are", {}), ("ordered by products", ordered(traced)), ("queries and keys sorted", products),
                ("values, too", traced.bases),
            ):  # fmt: skip
                cells = row(task, replace(traced, bases=bases), repair, dense)
                print(f"| {repair} | {axes} | {' | '.join(cells)} |", flush=True)


def ordered(traced: Traced) -> dict[str, Any]:
    """The bases, of which none may be changed."""
    return {name: replace(basis, free=False) for name, basis in traced.bases.items()}


def row(task: Task, traced: Traced, repair: str, dense: float) -> list[str]:
    groups = [group for group in traced.open if group.kind == "head_dim"]
    calibrated = calibrate(task.model, traced, criterion=CRITERION, repair=repair, clock=SystemClock(), task=task)
    cells = []
    for share in SHARES:
        plan = Plan.of({each.name: max(round(share * each.steps) * each.step, each.floor) for each in groups})
        slices = kept_slices(traced, calibrated.ranking, plan)
        cut = CutModel(apply(task.model, traced, slices).eval(), plan, slices)
        calibrated.repair(cut)
        cells.append(f"{loss_of(task, cut.model) - dense:+.4f} / {divergence(task, cut.model):.5f}")
    return cells


def loss_of(task: Task, model: nn.Module) -> float:
    return task.score(model, "search")["loss"].value


def divergence(task: Task, model: nn.Module) -> float:
    total, count = 0.0, 0
    with torch.no_grad():
        for batch in task.split("search"):
            dense, own = (logits(task.forward(each, batch)) for each in (task.model, model))
            total += float(functional.kl_div(own, dense, log_target=True, reduction="sum"))
            count += own.shape[:-1].numel()
    return total / count


def logits(outputs: Any) -> Tensor:
    found: Tensor = getattr(outputs, "logits", outputs)
    return found.log_softmax(-1)


if __name__ == "__main__":
    main()
