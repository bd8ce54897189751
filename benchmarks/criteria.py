"""Criteria and repairs: what a uniform cut costs before any fine-tuning, and how criteria agree with real ablations.

    python benchmarks/criteria.py [TASK ...] [--only ablation|table|weights|passes|large]

Without tasks: the built-in one and the transformer of `examples/vit.py`. A plan of 70 or 50 % is the uniform one whose
measured latency is nearest to that share of the dense model's. Torch-Pruning's group Taylor ranks the same groups by
the same gradients; its choice is cut by the same surgery.
"""

from __future__ import annotations

import argparse
import sys
import time
from itertools import islice
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from autoprune import registry
from autoprune.calibration import moments
from autoprune.calibration.ranking import rank
from autoprune.core.clock import SystemClock
from autoprune.core.measurement import RunSpec
from autoprune.core.plan import Plan
from autoprune.core.reporter import Silent
from autoprune.core.scope import scoped
from autoprune.engine.prepare import Prepared, prepare
from autoprune.measure.device import Device, DeviceSpec
from autoprune.measure.setup import Setup
from autoprune.options.defaults import CRITERION, REPAIR
from autoprune.recovery.calibrate import calibrate
from autoprune.surgery import apply, kept_slices, trace
from autoprune.surgery.cut_model import CutModel
from autoprune.surgery.sparsity import masks, with_weights
from autoprune.tasks.classification import Classification, logits_of
from autoprune.tasks.locate import locate
from autoprune.tasks.task import Task

ROOT = Path(__file__).parents[1]
TASKS = ("digits", f"{ROOT}/examples/vit.py:task")
SHARES = (0.7, 0.5)
ABLATED, REMOVED = 4, 16
RATIOS = tuple(k / 16 for k in range(3, 16))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=TASKS)
    parser.add_argument("--only", choices=["ablation", "table", "weights", "passes", "large"])
    chosen = parser.parse_args()
    if chosen.only in (None, "large"):
        large()
    if chosen.only == "large":
        return
    sys.path.insert(0, str(ROOT / "examples"))
    for name in chosen.tasks:
        prepared = prepare(locate(name, Silent()), None)
        prepared.task.model.eval()
        print(f"\n# {prepared.task.name}")
        for part, run in (("ablation", ablation), ("table", table), ("weights", weights), ("passes", passes)):
            if chosen.only in (None, part):
                run(prepared)


def ablation(prepared: Prepared) -> None:
    """Spearman's correlation, by group, of scores with what removing one slice alone does to the outputs,
    unrepaired."""
    task, traced = prepared.task, prepared.traced
    scores = {name: rank(registry.load("criteria", name), task.model, traced, task).scores for name in criteria()}
    found: dict[str, list[float]] = {name: [] for name in scores}
    for group in traced.open:
        if group.kind == "layer" or group.tie or group.size < 6 or group.step > 1:
            continue
        lost, tried = [], list(range(0, group.size, max(group.size // REMOVED, 1)))
        for gone in tried:
            kept = torch.tensor([k for k in range(group.size) if k != gone])
            lost.append(divergence(task, apply(task.model, traced, {group.name: kept}), ABLATED))
        for name, by_group in scores.items():
            found[name].append(spearman(by_group[group.name][tried], torch.tensor(lost)))
    print("\n## Rank correlation with the divergence that removing one slice causes (mean over groups, least, most)")
    for name, each in sorted(found.items(), key=lambda item: -sum(item[1])):
        print(f"| {name} | {sum(each) / len(each):.2f} | {min(each):.2f} | {max(each):.2f} |")


def table(prepared: Prepared) -> None:
    """Accuracy and loss on the search split of every criterion with every repair."""
    task, traced = prepared.task, prepared.traced
    plans = {share: plan_at(prepared, share) for share in SHARES}
    whole = score(task, task.model)
    print(f"\n## Uniform plans without fine-tuning (dense: accuracy {whole[0]:.4f}, loss {whole[1]:.4f})")
    print("| criterion | repair | " + " | ".join(f"{share:.0%} of dense latency" for share in SHARES) + " |")
    for name in (*criteria(), "torch-pruning taylor"):
        for repair in registry.names("repairs"):
            known = "l2" if name.startswith("torch") else name
            calibrated = calibrate(task.model, traced, criterion=known, repair=repair, clock=SystemClock(), task=task)
            ranking = torch_pruning(prepared) if name.startswith("torch") else calibrated.ranking
            cells = []
            for plan in plans.values():
                slices = kept_slices(traced, ranking, plan)
                model = apply(task.model, traced, slices).eval()
                calibrated.repair(CutModel(model, slices=slices))
                cells.append("{:.4f} ({:.3f})".format(*score(task, model)))
            print(f"| {name} | {repair} | " + " | ".join(cells) + " |", flush=True)


def weights(prepared: Prepared) -> None:
    """The divergence from the dense model's outputs of zeroed weights, with and without reconstruction."""
    task = prepared.task
    print("\n## Zeroed weights: KL to the dense model's outputs (accuracy)")
    for pattern, keep in (("unstructured", 0.5), ("unstructured", 0.2), ("2:4", 0.5), ("4x4", 0.5)):
        traced = with_weights(task.model, prepared.traced, pattern)
        plan = Plan.of({
            group.name: max(round(keep * group.size), group.floor) for group in traced.open if group.kind == "weight"
        })  # fmt: skip
        for name in ("l1", "wanda", "hessian", "taylor"):
            for repair in ("batchnorm", "reconstruct", "sequential"):
                calibrated = calibrate(
                    task.model, traced, criterion=name, repair=repair, clock=SystemClock(), task=task
                )
                model = apply(task.model, traced, {})
                calibrated.repair(CutModel(model, masks=masks(traced, calibrated.ranking, plan, {})))
                found = f"{divergence(task, model):.4f} | {score(task, model)[0]:.4f}"
                print(f"| {pattern} {1 - keep:.0%} | {name} | {repair} | {found} |", flush=True)


def passes(prepared: Prepared) -> None:
    """Seconds of what is done once, and of one repair against scoring one candidate."""
    task, traced = prepared.task, prepared.traced
    start = time.perf_counter()
    entering = moments.gather(task, traced.reading)
    print(f"\n## Passes\n| moments of {len(entering)} weights | {time.perf_counter() - start:.2f} s |")
    for name in criteria():
        start = time.perf_counter()
        rank(registry.load("criteria", name), task.model, traced, task, entering)
        print(f"| ranking by {name} | {time.perf_counter() - start:.2f} s |")
    calibrated = calibrate(task.model, traced, criterion=CRITERION, repair=REPAIR, clock=SystemClock(), task=task)
    for ratio in (0.75, 0.5):
        slices = kept_slices(traced, calibrated.ranking, prepared.space.uniform(ratio))
        for word in ("first", "again"):
            model = apply(task.model, traced, slices).eval()
            start = time.perf_counter()
            calibrated.repair(CutModel(model, slices=slices))
            repaired = time.perf_counter()
            task.score(model, "search")
            done = time.perf_counter()
            share = (repaired - start) / (done - start)
            print(
                f"| {word} repair at {ratio:.0%} | {repaired - start:.3f} s, scoring {done - repaired:.3f} s, "
                f"{share:.0%} |"
            )


def large() -> None:
    """Seconds of the one pass for a ResNet-18 over a thousand images of 224 x 224."""
    from transformers import ResNetConfig, ResNetForImageClassification

    torch.manual_seed(0)
    config = ResNetConfig(
        embedding_size=64, hidden_sizes=[64, 128, 256, 512], depths=[2, 2, 2, 2], layer_type="basic", num_labels=1000
    )
    model = ResNetForImageClassification(config).eval()
    batch = (torch.randn(50, 3, 224, 224), torch.randint(0, 1000, (50,)))
    splits = {name: [batch] for name in ("train", "search", "validation", "test")}
    task = Classification(model, splits={**splits, "calibration": [batch] * 20}, example_inputs=(batch[0][:1],))
    traced = trace(model, task.example_inputs)
    start = time.perf_counter()
    entering = moments.gather(task, traced.reading)
    print(f"\n# ResNet-18\n| moments of {len(entering)} weights, 1000 images | {time.perf_counter() - start:.1f} s |")
    start = time.perf_counter()
    scores = rank(registry.load("criteria", CRITERION), model, traced, task, entering).scores
    print(f"| ranking by {CRITERION} | {time.perf_counter() - start:.1f} s |")
    start = time.perf_counter()
    repair = registry.load("repairs", REPAIR).prepare(task, traced, entering)
    print(f"| preparing {REPAIR} | {time.perf_counter() - start:.1f} s |")
    plan = scoped(traced.groups, {name: each.tolist() for name, each in scores.items()}, "layer", 0.5)
    slices = kept_slices(traced, scores, plan)
    for word in ("first", "again"):
        cut = apply(model, traced, slices).eval()
        start = time.perf_counter()
        repair(CutModel(cut, slices=slices))
        print(f"| {word} repair at 50% | {time.perf_counter() - start:.1f} s |")


def criteria() -> tuple[str, ...]:
    return registry.names("criteria")


def plan_at(prepared: Prepared, share: float) -> Plan:
    """The uniform plan whose measured latency is nearest to a share of the dense model's."""
    task, traced = prepared.task, prepared.traced
    ranking = rank(registry.load("criteria", "l2"), task.model, traced).scores
    setup = Setup("torch", RunSpec(1, 0), task.spec)
    device = Device(
        DeviceSpec(setup, task.model, example_inputs=task.example_inputs, traced=traced, seed=0, clock=SystemClock()),
        Silent(),
    )
    found: dict[Plan, float] = {}
    try:
        device.open()
        for plan in dict.fromkeys(map(prepared.space.uniform, RATIOS)):
            slices = kept_slices(traced, ranking, plan)
            if slices:
                model = apply(task.model, traced, slices).eval()
                found[plan] = device.measure(CutModel(model, slices=slices), {})["latency.relative"].value
    finally:
        device.close()
    return min(found, key=lambda plan: abs(found[plan] - share))


def torch_pruning(prepared: Prepared) -> dict[str, torch.Tensor]:
    """The scores of Torch-Pruning's GroupTaylorImportance for our groups, by the module that produces each."""
    import torch_pruning

    task, traced = prepared.task, prepared.traced
    model = task.model
    model.zero_grad()
    batches = list(task.split("calibration"))
    for batch in batches:
        (task.loss(task.forward(model, batch), batch) / len(batches)).backward()  # type: ignore[misc]
    importance = torch_pruning.importance.GroupTaylorImportance()
    loose = [(each, 0) for each in model.parameters() if _loose(model, each)]
    graph = torch_pruning.DependencyGraph().build_dependency(
        model,
        task.example_inputs,
        unwrapped_parameters=loose,
        forward_fn=lambda m, x: m(*x) if isinstance(x, tuple) else m(x),
    )
    scores = dict(rank(registry.load("criteria", "taylor"), model, traced, task).scores)
    modules = dict(model.named_modules())
    for group in traced.open:
        module = modules.get(group.name.partition("#")[0])
        prune = graph.get_pruner_of_module(module) if module is not None else None
        if prune is None or prune.get_out_channels(module) != group.size:
            continue
        theirs = graph.get_pruning_group(module, prune.prune_out_channels, idxs=list(range(group.size)))
        found = importance(theirs)
        if found is not None and len(found) == group.size:
            scores[group.name] = found.double().cpu()
    model.zero_grad()
    return scores


def _loose(model: nn.Module, parameter: torch.Tensor) -> bool:
    """Whether a parameter lies outside the layers that Torch-Pruning knows."""
    known = (nn.modules.conv._ConvNd, nn.Linear, nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.Embedding)
    inside = {id(each) for module in model.modules() if isinstance(module, known) for each in module.parameters()}
    return id(parameter) not in inside


def score(task: Task, model: nn.Module) -> tuple[float, float]:
    found = task.score(model, "search")
    return found[task.quality.name].value, found["loss"].value


def divergence(task: Task, model: nn.Module, batches: int | None = None) -> float:
    """The mean Kullback-Leibler divergence of the outputs from the dense model's, on the first batches or on all."""
    total, count = 0.0, 0
    with torch.no_grad():
        for batch in islice(task.split("search"), batches):
            dense, own = (
                functional.log_softmax(logits_of(task.forward(each, batch)), -1) for each in (task.model, model)
            )
            total += float(functional.kl_div(own, dense, reduction="sum", log_target=True))
            count += dense[..., 0].numel()
    return total / count


def spearman(left: torch.Tensor, right: torch.Tensor) -> float:
    ranks = torch.stack([each.double().argsort().argsort().double() for each in (left, right)])
    return float(torch.corrcoef(ranks)[0, 1])


if __name__ == "__main__":
    main()
