"""What measurements are worth: repeatability, agreement with the runtimes' own tools, cost, prediction, budgets.

    python benchmarks/profilers.py                    # everything, half an hour; the machine should do nothing else
    python benchmarks/profilers.py --only cost tools  # some of: budget, tools, cost, candidate, predictor, roof, repeat

Each part prints one line a figure, with the goal beside it. `repeat` switches a noisy neighbour on and off itself.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch.utils import benchmark
from transformers import ResNetConfig, ResNetForImageClassification

import autoprune
from autoprune.bench.bench import WARM_S
from autoprune.core.clock import SystemClock
from autoprune.core.measurement import RunSpec
from autoprune.core.plan import Plan
from autoprune.core.reporter import Silent
from autoprune.cost_model.latency_forecast import tabulate
from autoprune.cost_model.roofline import Roofline, roofline
from autoprune.cost_model.sampled_models import first_slices
from autoprune.measure import estimator
from autoprune.measure.device import Device, DeviceSpec
from autoprune.measure.setup import Setup
from autoprune.remote.client import WorkerBench
from autoprune.remote.packing import Packer
from autoprune.search_spaces import choose
from autoprune.search_spaces.space import SearchSpace
from autoprune.store.device import DeviceStore
from autoprune.surgery import apply, trace
from autoprune.surgery.cut_model import CutModel
from autoprune.surgery.example import Example
from autoprune.tasks.locate import locate

BUDGET_S = 0.005
BUSY = "import numpy as np\nx = np.ones((700, 700))\nwhile True: x @ x"


def say(what: str, found: str, goal: str) -> None:
    print(f"| {what} | {found} | {goal} |", flush=True)


class Cut:
    """The built-in task, or ResNet-18, with models cut from it."""

    def __init__(self, name: str) -> None:
        if name == "digits":
            task = locate("digits", Silent())
            self.model, self.inputs, self.task = task.model, task.example_inputs, "digits"
        else:
            torch.manual_seed(0)
            config = ResNetConfig(layer_type="basic", hidden_sizes=[64, 128, 256, 512], depths=[2, 2, 2, 2])
            self.model, self.task = ResNetForImageClassification(config).eval(), ""
            self.inputs = (torch.randn(1, 3, 224, 224),)
        self.traced = trace(self.model, self.inputs)
        classes = (type(module).__name__ for module in self.model.modules())
        self.space = SearchSpace.build(self.traced.groups, choose(None, classes))

    def random(self, draw: np.random.Generator) -> Plan:
        return self.space.plan({v.name: int(draw.integers(len(v.levels))) for v in self.space.variables})

    def cut(self, plan: Plan) -> CutModel:
        slices = first_slices(self.traced, plan)
        return CutModel(apply(self.model, self.traced, slices).eval(), plan, slices)

    @contextmanager
    def device(self, profiler: str, seed: int = 0) -> Iterator[Device]:
        setup = Setup(profiler, RunSpec(), self.task)
        device = Device(
            DeviceSpec(
                setup, self.model, example_inputs=self.inputs, traced=self.traced, seed=seed, clock=SystemClock()
            ),
            Silent(),
        )
        try:
            device.open()
            yield device
        finally:
            device.close()


def budget(digits: Cut, between: Callable[[], None]) -> None:
    """Models that a search called feasible, measured again in fresh processes at least five minutes later."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        autoprune.search("digits", f"latency={BUDGET_S * 1e3:g}ms", trials=90, finetune_epochs=0, finalists=1, run=run)
        trials = [json.loads(line) for line in (run / "measurements.jsonl").read_text().splitlines()]
    searched = [trial for trial in trials if trial["stage"] == "search"]
    costs = [trial["seconds"]["measure"] for trial in searched if trial["seconds"]["measure"]]
    say("measuring a candidate in a search, median", f"{np.median(costs):.2f} s (of {len(costs)})", "1.5 s")
    plans = [Plan.of(trial["plan"]) for trial in searched if trial["feasible"]][:50]
    ended = time.monotonic()
    between()
    time.sleep(max(300 - (time.monotonic() - ended), 0))
    packer, again = Packer("module", False, digits.model, Example.of(digits.inputs), digits.traced), []
    for plan in plans:
        bench = WorkerBench("torch", RunSpec(), "digits")
        (artifact,) = packer.packed(digits.cut(plan))
        bench.prepare("model", artifact)
        blocks = [blocks[0] for blocks in bench.rounds(["model"], 40, 0.02, 2, 0)]
        again.append(float(np.median([estimator.median(block) for block in blocks])))
        bench.close()
    broken = sum(seconds > BUDGET_S for seconds in again)
    worst = max(again, default=0) * 1e3
    say(
        f"feasible models beyond {BUDGET_S * 1e3:g} ms when measured again",
        f"{broken} of {len(again)} (worst {worst:.2f} ms)",
        "1 of 50",
    )


def tools(digits: Cut) -> None:
    """Our medians against those of the runtimes' own tools, alternating, each in a process of its own."""
    packer = Packer("onnx", False, digits.model, Example.of(digits.inputs), digits.traced)
    (artifact,) = packer.packed(CutModel(digits.model))
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        Path(file.name).write_bytes(artifact.content)
        theirs = {
            "torch": _torch_tool(),
            "onnxruntime": _ort_tool(artifact),
            "openvino": _openvino_tool(file.name),
        }
        for profiler, tool in theirs.items():
            ratios = []
            for seed in range(5):
                with digits.device(profiler, seed) as device:
                    own = device.session.dense.typical
                ratios.append(own / tool())
            say(f"{profiler}: our median / its own tool's", f"{np.median(ratios):.3f}", "0.95 to 1.05")


def _torch_tool() -> Callable[[], float]:
    code = (
        "import torch\nfrom torch.utils import benchmark\nfrom autoprune.tasks.locate import locate\n"
        "from autoprune.core.reporter import Silent\ntask = locate('digits', Silent())\n"
        "names = {'m': task.model.eval(), 'x': task.example_inputs, 'torch': torch}\n"
        "timer = benchmark.Timer('m(*x)', 'torch.set_grad_enabled(False)', globals=names, num_threads=1)\n"
        "print(timer.blocked_autorange(min_run_time=2).median)\n"
    )
    return lambda: float(subprocess.check_output([sys.executable, "-c", code], text=True))


def _ort_tool(artifact) -> Callable[[], float]:
    def loop() -> float:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(artifact.content, options, providers=["CPUExecutionProvider"])
        timer = benchmark.Timer("s.run(None, x)", globals={"s": session, "x": dict(artifact.inputs)})
        return float(timer.blocked_autorange(min_run_time=2).median)

    return loop


def _openvino_tool(file: str) -> Callable[[], float]:
    command = ["benchmark_app", "-m", file, "-d", "CPU", "-api", "sync", "-nthreads", "1", "-nstreams", "1", "-t", "2",
               "-hint", "none", "-infer_precision", "f32"]  # fmt: skip

    def run() -> float:
        out = subprocess.check_output([str(Path(sys.executable).with_name(command[0])), *command[1:]], text=True)
        line = next(line for line in out.splitlines() if "Median" in line)
        return float(line.split()[-2]) / 1e3

    return run


def cost(digits: Cut) -> None:
    """Seconds until the interval of a candidate is narrow, of models of all sizes."""
    draw = np.random.default_rng(0)
    for profiler in ("torch", "onnxruntime"):
        times, narrow = [], 0
        with digits.device(profiler) as device:
            for _ in range(12):
                cut = digits.cut(digits.random(draw))
                rough = device.measure(cut, {})["latency"].value
                start = time.monotonic()
                found = device.measure(cut, {"latency": rough})["latency.relative"]
                times.append(time.monotonic() - start)
                narrow += found.converged
        say(f"{profiler}: time to a half-width of 2 %", f"{np.median(times):.2f} s, {narrow} of 12 reached it", "3 s")


def candidate(resnet: Cut) -> None:
    """From a cut ResNet-18 to a session of ONNX Runtime that can be timed."""
    draw = np.random.default_rng(0)
    with resnet.device("onnxruntime") as device:
        for _ in range(3):  # the first few show how sizes stand in the graph
            device.measure(resnet.cut(resnet.random(draw)), {})
        bench, seconds, expected = WorkerBench("onnxruntime", RunSpec()), [], []
        bench.fingerprint()
        for _ in range(12):
            cut = resnet.cut(resnet.random(draw))
            start = time.monotonic()
            artifact = next(device.packer.packed(cut))
            packed = time.monotonic()
            bench.prepare("candidate", artifact)
            seconds.append(time.monotonic() - start - WARM_S)
            expected.append(packed - start)
        bench.close()
    say(
        "ResNet-18: candidate to timed session",
        f"{np.median(seconds):.2f} s (of it {np.median(expected):.2f} s outputs and graph)",
        "0.5 s",
    )
    whole = time.monotonic()
    device.packer._exporter.anew(resnet.cut(resnet.random(draw)).model, {})
    say("ResNet-18: the same by exporting anew", f"{time.monotonic() - whole:.2f} s", "")


def predictor(resnet: Cut, held: int = 50) -> None:
    """Held-out plans against predictions from a table."""
    for profiler in ("torch", "onnxruntime"):
        draw = np.random.default_rng(7)
        with resnet.device(profiler) as device:
            (device.store.folder / "table.json").unlink(missing_ok=True)
            built = tabulate(device, resnet.space, 0)
            pairs, inside, width = [], 0, np.exp(1.96 * built.forecast.error)
            for _ in range(held):
                cut = resnet.cut(resnet.random(draw))
                said = built.forecast.at(resnet.space.places(cut.plan))
                latency = device.measure(cut, {})["latency"].value
                pairs.append((said, latency))
                inside += said / width <= latency <= said * width
        said, latency = np.array(pairs).T
        errors = np.abs(said / latency - 1)
        order = np.corrcoef(said.argsort().argsort(), latency.argsort().argsort())[0, 1]
        say(f"{profiler}: ResNet-18's table", f"{built.measured} units in {built.seconds:.0f} s", "60 s")
        say(
            f"{profiler}: error of predictions, {held} held-out plans",
            f"median {np.median(errors):.1%}, 90 % below {np.percentile(errors, 90):.1%}, "
            f"rank correlation {order:.3f}, {inside} within their interval",
            "median 5 %",
        )


def repeat(digits: Cut, minutes: float = 10.0, runs: int = 20) -> None:
    """One model in fresh processes over minutes, with a neighbour on every processor in every second run."""
    plan, relative, plain, wait = digits.space.uniform(0.5), [], [], minutes * 60 / runs
    for run in range(runs):
        start = time.monotonic()
        with neighbours(run % 2 == 1), digits.device("torch", run) as device:
            found = device.measure(digits.cut(plan), {"latency": device.session.dense.typical * 0.4})
        relative.append(found["latency.relative"])
        plain.append(device.session.dense.typical)
        time.sleep(max(wait - (time.monotonic() - start), 0))
    values = np.array([each.value for each in relative])
    middle = float(np.median(values))
    near = np.mean(np.abs(values / middle - 1) <= 0.03)
    held = np.mean([each.low <= middle <= each.high for each in relative])
    spread = np.percentile(np.abs(np.array(plain) / np.median(plain) - 1), 90)
    say(f"{runs} runs in {minutes:g} minutes: ratio to the reference within 3 %", f"{near:.0%} of runs", "90 %")
    say("the same runs: 90 % of the plain medians of the reference within", f"{spread:.0%}", "")
    say("the same runs: intervals that hold the middle", f"{held:.0%}", "90 to 99 %")


def roof(digits: Cut, runs: int = 6) -> None:
    """The device's roof without a kept one, with a neighbour on every processor in every second run."""
    found: list[Roofline] = []
    for run in range(runs):
        with tempfile.TemporaryDirectory() as folder, neighbours(run % 2 == 1), digits.device("torch", run) as device:
            device.store = DeviceStore(Path(folder))
            found.append(roofline(device))
    for name in ("flops", "bandwidth"):
        values = np.array([getattr(each, name) for each in found])
        apart = float(np.median(values[1::2]) / np.median(values[::2]) - 1)
        say(f"roof, {name}, busy against calm", f"{apart:+.1%} of {np.median(values[::2]):.3g}/s", "within 10 %")


@contextmanager
def neighbours(busy: bool) -> Iterator[None]:
    """One on every processor, where there are some."""
    working = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(2)] if busy else []
    try:
        yield
    finally:
        for process in working:
            process.kill()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--only", nargs="*", default=["budget", "tools", "cost", "candidate", "predictor", "roof", "repeat"]
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    chosen = parser.parse_args()
    print("| what | measured | aim |\n|---|---|---|", flush=True)
    digits = Cut("digits")
    resnet = Cut("resnet-18") if {"candidate", "predictor"} & set(chosen.only) else digits
    parts: dict[str, Callable[[], None]] = {
        "tools": lambda: tools(digits),
        "cost": lambda: cost(digits),
        "candidate": lambda: candidate(resnet),
        "predictor": lambda: predictor(resnet),
        "roof": lambda: roof(digits),
    }

    def between() -> None:
        for name, part in parts.items():
            if name not in chosen.only:
                continue
            try:
                part()
            except Exception as error:  # the other figures are wanted all the same
                say(name, f"failed: {error!r}", "")

    if "budget" in chosen.only:
        budget(digits, between)
    else:
        between()
    if "repeat" in chosen.only:
        repeat(digits, chosen.minutes)


if __name__ == "__main__":
    main()
