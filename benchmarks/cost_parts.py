"""Pieces of `cost.py` that want a process of their own. Knows what is timed; prints one line each."""

from __future__ import annotations

import json
import resource
import time
from pathlib import Path

import torch

from autoprune.core.budget import Budget
from autoprune.core.clock import SystemClock
from autoprune.core.reporter import Silent
from autoprune.surgery.cut_model import CutModel
from autoprune.tasks.locate import locate

TASKS = Path(__file__).with_name("cost_tasks.py")


def hessian(task: str) -> None:
    """Ranking by `hessian`, the pass over the calibration split left out."""
    from autoprune import registry
    from autoprune.calibration import moments
    from autoprune.calibration.ranking import rank
    from autoprune.surgery import trace

    torch.set_num_threads(1)
    made = locate(f"{TASKS}:{task}", Silent())
    traced = trace(made.model, made.example_inputs)
    entering = moments.gather(made, traced.reading)
    start = time.perf_counter()
    rank(registry.load("criteria", "hessian"), made.model, traced, made, entering)
    print(f"hessian on {task}, one thread: {time.perf_counter() - start:.1f} s")


def wide(size: int, results: int) -> None:
    """Ranking one group of `size` neurons that a weight of so many results reads."""
    from autoprune.criteria import GroupView, InputStats, Moments, View, hessian
    from autoprune.surgery.contractions import Contraction

    torch.manual_seed(0)
    mixed = torch.randn(size, size // 4) / (torch.arange(size // 4) + 1) ** 0.5
    covariance = (mixed @ mixed.T + 0.05 * torch.eye(size)).double()
    moments = Moments(Contraction("w", 1, "b"), torch.zeros(size).double(), covariance, 1, 10_000)
    weight = torch.randn(size, results).double()
    view = View(
        "w",
        weight,
        slices=torch.arange(size),
        size=size,
        role="in",
        reads=InputStats(moments, torch.arange(size)[:, None]),
    )
    start = time.perf_counter()
    hessian.score(GroupView("g", size, (view,)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"hessian on {size} neurons read by {results}: {time.perf_counter() - start:.1f} s, {peak:.1f} GiB at most")


def traced() -> None:
    """Tracing ResNet-50, the first call of this process, and cutting it against bare `index_select`."""
    from transformers import ResNetConfig, ResNetForImageClassification

    from autoprune.core.plan import Plan
    from autoprune.cost_model.sampled_models import first_slices
    from autoprune.surgery import apply, trace
    from autoprune.surgery.find import named_tensors
    from autoprune.surgery.layout import positions

    model = ResNetForImageClassification(ResNetConfig(num_labels=1000)).eval()
    inputs = torch.randn(1, 3, 224, 224)
    start = time.perf_counter()
    found = trace(model, inputs)
    first = time.perf_counter() - start
    plan = Plan.of({group.name: max(group.size // 2, 1) for group in found.open if group.kind == "channel"})
    slices = first_slices(found, plan)
    places = {}
    for name, layouts in found.layouts.items():
        kept = {dim: positions(layout, slices) for dim, layout in enumerate(layouts)}
        places[name] = [(dim, each) for dim, each in kept.items() if each is not None]

    def bare() -> None:
        for name, tensor in named_tensors(model):
            for dim, kept in places.get(name, ()):
                tensor = tensor.index_select(dim, kept)  # noqa: PLW2901

    pairs = [(_timed(lambda: apply(model, found, slices)), _timed(bare)) for _ in range(9)]
    ratio = sorted(one / other for one, other in pairs)[len(pairs) // 2]
    print(f"tracing ResNet-50, first call: {first:.2f} s; a candidate takes {ratio:.2f} times bare index_select")


def again(run: str) -> None:
    """Finished models within the budget of a run, measured again in three fresh processes."""
    import yaml

    import autoprune
    from autoprune.core.measurement import RunSpec
    from autoprune.measure.device import Device, DeviceSpec
    from autoprune.measure.setup import Setup
    from autoprune.surgery import trace

    recipe = yaml.safe_load((Path(run) / "run.yaml").read_text())
    front = json.loads((Path(run) / "front.json").read_text())
    made = locate(recipe["task"], Silent())
    found = trace(made.model, made.example_inputs)
    spec = RunSpec(recipe["threads"], recipe["batch"], recipe["precision"])
    setup = Setup(recipe["profiler"], spec, recipe["task"])
    device = Device(
        DeviceSpec(setup, made.model, example_inputs=made.example_inputs, traced=found, seed=1, clock=SystemClock()),
        Silent(),
    )
    limits = Budget.parse(*front["budget"]).limits
    try:
        device.open()
        kept = [point for point in front["front"] if point["feasible"]]
        models = []
        for point in kept:
            folder = Path(run) / "models" / str(point["trial"])
            plan = json.loads((folder / "plan.json").read_text())
            slices = {name: torch.tensor(each) for name, each in plan["slices"].items()}
            models.append(CutModel(autoprune.load(str(folder), task=made), slices=slices))
        measured = device.measure_again(models, lambda text: None)
        whole = device.reference()
    finally:
        device.close()
    broken, marked = [], 0
    for point, now in zip(kept, measured, strict=True):
        marked += not point["metrics"]["latency"]["valid"]
        if any(not limit.met_by(now[limit.key].value, whole[limit.key].value) for limit in limits if limit.key in now):
            broken.append(point["trial"])
    said = ", ".join(
        f"{each['trial']}: {each['metrics']['latency']['value'] * 1e3:.2f} -> {now['latency'].value * 1e3:.2f} ms"
        for each, now in zip(kept, measured, strict=True)
    )
    print(f"{run}: {len(broken)} of {len(kept)} break the budget ({marked} were marked); {said}")


def _timed(work) -> float:  # type: ignore[no-untyped-def]
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
