"""How many models can be cut without any configuration, by autoprune and by Torch-Pruning.

    python benchmarks/coverage.py --quick            twelve models, about a minute
    python benchmarks/coverage.py                    all of them; writes benchmarks/coverage.md

Each model has its own process and time limit. What is asked: that it is traced; that it runs in eval and in train mode
with half of everything and with three random plans; that no size differs from the plan; that reordering all slices
leaves the output; that it is the same after saving and loading into a fresh model. Needs timm, transformers,
torchvision and torch-pruning.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import zoo
from torch import Tensor, nn

import autoprune
from autoprune.errors import describe
from autoprune.surgery import Traced, apply
from autoprune.surgery.coverage import coverage
from autoprune.surgery.example import Example
from autoprune.surgery.layout import size
from autoprune.surgery.tracer import tensors_of

LIMIT_S, PEER_LIMIT_S = 600, 60


@dataclass
class Row:
    """What was seen of one model; `error` is the first thing that went wrong."""

    model: str
    params: int = 0
    trace_s: float = 0.0
    groups: int = 0
    share: float = 0.0
    flops: float = 0.0
    half: float = 0.0
    plans: int = 0
    changed: int = 0
    oracle: float = float("nan")
    reload: bool = False
    error: str = ""
    peer: str = ""


def outputs(model: nn.Module, example: Example, seed: int = 0) -> list[Tensor]:
    """The floating-point results in double precision; random numbers are the same each time."""
    torch.manual_seed(seed)
    with torch.no_grad():
        return [leaf.double() for leaf in tensors_of(example.call(model)) if leaf.is_floating_point()]


def difference(left: list[Tensor], right: list[Tensor]) -> float:
    """The largest difference relative to the largest value."""
    pairs = list(zip(left, right, strict=True))
    worst = [float((a - b).nan_to_num().abs().max() / b.nan_to_num().abs().max().clamp_min(1e-12)) for a, b in pairs]
    return max(worst, default=0.0)


def random_plan(traced: Traced, draw: random.Random) -> dict[str, int]:
    """Between a quarter and all but a twentieth of every group of slices; tied groups alike."""
    shares: dict[str, float] = {}
    plan = {}
    for group in traced.open:
        if group.kind != "layer":
            share = shares.setdefault(group.tie or group.name, draw.uniform(0.25, 0.95))
            plan[group.name] = max(round(share * group.steps) * group.step, group.floor, group.step)
    return plan


def runs(model: nn.Module, example: Example, dense_trains: bool) -> None:
    """Raise what it raises in eval mode, and in train mode where the dense model runs in it."""
    outputs(model.eval(), example)
    if dense_trains:
        outputs(model.train(), example)
        model.eval()


def trains(name: str, example: Example) -> bool:
    try:
        outputs(zoo.make(name)[0].train(), example)
    except Exception:
        return False
    return True


def examine(name: str) -> Row:
    row = Row(name)
    model, inputs = zoo.make(name)
    example = Example.of(inputs)
    row.params = sum(parameter.numel() for parameter in model.parameters())
    with_train = trains(name, example)
    try:
        start = time.perf_counter()
        traced = autoprune.trace(model, inputs)
        row.trace_s = time.perf_counter() - start
        row.groups = len(traced.open)
        covered = coverage(model, traced)
        row.share, row.flops = covered.params, covered.flops
        expected = outputs(model, example)
        orders = {g.name: torch.randperm(g.size) for g in traced.open if g.kind != "layer"}
        if difference(outputs(model, example, seed=1), expected) == 0:  # noise has another order, too
            row.oracle = difference(outputs(apply(model, traced, orders), example), expected)
        pruned = autoprune.prune(model, inputs, 0.5)
        runs(pruned.model, example, with_train)
        row.half = sum(parameter.numel() for parameter in pruned.model.parameters()) / row.params
        draw = random.Random(0)
        for _ in range(3):
            plan = random_plan(traced, draw)
            slices = {name: torch.tensor(sorted(draw.sample(range(g.size), plan[name])))
                      for name, g in ((g.name, g) for g in traced.open) if name in plan}  # fmt: skip
            cut = apply(model, traced, slices)
            row.changed += changed(cut, traced, plan)
            runs(cut, example, with_train)
            row.plans += 1
        with tempfile.TemporaryDirectory() as folder:
            pruned.save(folder)
            again = autoprune.load(folder, model=zoo.make(name)[0], example_inputs=inputs)
            row.reload = difference(outputs(again, example), outputs(pruned.model, example)) == 0
    except Exception as error:
        row.error = describe(error)
    return row


def changed(cut: nn.Module, traced: Traced, plan: dict[str, int]) -> int:
    """How many groups have another size in the cut model than the plan says."""
    shapes = {name: tensor.shape for name, tensor in cut.named_parameters()}
    return sum(
        shapes[member.tensor][member.dim] != size(traced.layouts[member.tensor][member.dim], plan)
        for group in traced.open
        for member in group.members
        if member.dim is not None and member.tensor in shapes
    )


def peer(name: str) -> str:
    """Torch-Pruning without settings but the tensors of the output: half of every group that it finds, then a run."""
    import torch_pruning

    model, inputs = zoo.make(name)
    example = Example.of(inputs)
    before = sum(parameter.numel() for parameter in model.parameters())
    outputs_kept = [module for module in model.modules() if isinstance(module, nn.Linear)][-1:]
    try:
        pruner = torch_pruning.pruner.BasePruner(
            model, example.kwargs or example.args, importance=torch_pruning.importance.MagnitudeImportance(p=1),
            pruning_ratio=0.5, ignored_layers=outputs_kept, output_transform=tensors_of,
        )  # fmt: skip
        pruner.step()
        outputs(model, example)
    except Exception as error:
        return f"fails ({describe(error)[:60]})"
    after = sum(parameter.numel() for parameter in model.parameters())
    return f"{after / before:.2f}" if after < before else "nothing cut"


def isolated(work: Callable[[str], Any], name: str, limit: float, failed: Callable[[str], Any]) -> Any:
    """Run in a process of its own; what did not come back within the limit is what `failed` makes of the reason."""
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    process = context.Process(target=lambda: queue.put(work(name)))
    process.start()
    deadline = time.monotonic() + limit
    while queue.empty() and process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.05)
    found = queue.get() if not queue.empty() else failed("died" if not process.is_alive() else f"over {limit:.0f} s")
    process.kill()
    process.join()
    return found


def table(rows: list[Row]) -> str:
    lines = [
        "| model | params | trace s | groups | share of params | of ops | at 50 % | plans | sizes changed | oracle "
        "| reload | Torch-Pruning 1.6.1 |",
        "|---|" + "---:|" * 9 + "---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row.model} | {row.params / 1e6:.2f} M | {row.trace_s:.1f} | {row.groups} | {row.share:.2f} "
            f"| {row.flops:.2f} | {row.half:.2f} | {row.plans}/3 | {row.changed} | {row.oracle:.0e} "
            f"| {'equal' if row.reload else row.error or 'differs'} | {row.peer} |"
        )
    return "\n".join(lines)


def summary(rows: list[Row]) -> str:
    good = [row for row in rows if not row.error and row.plans == 3 and row.reload and row.half < 1]
    works = sum(row.peer[:1].isdigit() for row in rows)
    return (
        f"{len(good)} of {len(rows)} models traced, cut by half and by three random plans, run in both modes, and the "
        f"same after reloading; mean share of parameters that groups touch "
        f"{statistics.mean(row.share for row in rows):.3f}; "
        f"sizes changed {sum(row.changed for row in rows)}; largest oracle difference "
        f"{max(row.oracle for row in rows if row.oracle == row.oracle):.1e}; "
        f"Torch-Pruning without settings: {works} of {len(rows)}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="twelve models")
    parser.add_argument("--only", nargs="*", help="names such as timm/resnet18 or transformers/bert")
    parser.add_argument("--workers", type=int, default=1, help="models at a time")
    parser.add_argument("--no-peer", action="store_true", help="leave Torch-Pruning out")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    zoo.prepare()
    names = options.only or (zoo.QUICK if options.quick else zoo.names())

    def both(name: str) -> Row:
        row = isolated(examine, name, LIMIT_S, lambda reason: Row(name, error=reason))
        row.peer = "" if options.no_peer else isolated(peer, name, PEER_LIMIT_S, lambda reason: f"fails ({reason})")
        return row

    rows = []
    with ThreadPoolExecutor(options.workers) as pool:
        for row in pool.map(both, names):
            rows.append(row)
            print(table([row]).splitlines()[-1], flush=True)
    print(f"\n{summary(rows)}")
    if not options.quick and not options.only:
        text = (
            f"# Coverage\n\n{summary(rows)}\n\nWritten by `python benchmarks/coverage.py`, torch {torch.__version__}.\n"
        )
        Path(__file__).with_suffix(".md").write_text(f"{text}\n{table(rows)}\n")


if __name__ == "__main__":
    main()
