"""What watching a model in production costs, how soon it finds other images, and how often it finds what is not there.

    python benchmarks/monitor.py [--quick]     digits at half of their width; a minute, or about ten

Overhead: calls of the model and of the monitor around it in turn, and what the monitor says that its looks took. Shift:
brightness is added to all images from some moment on, in units of their spread; how many more images go by until the
alarm, with the looks that the usual share allows. False alarms: windows of images that nobody changed, of digits that
are not in the calibration split; and windows of drawn numbers with a reference of their own each, about which the
guarantee is.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

import autoprune
from autoprune.calibration.baseline import Baseline
from autoprune.core.reporter import SILENT
from autoprune.monitoring.drift import DriftTest
from autoprune.monitoring.monitor import Drift, Monitor, Watch
from autoprune.tasks.locate import locate
from autoprune.tasks.task import Task

WANTED_S = 3e-3
RATE = 1e-4
SHIFTS = (0.1, 0.25, 0.5, 1.0)


def finished() -> tuple[nn.Module, Task]:
    """The built-in network at half of its width, repaired."""
    task = locate("digits", SILENT)
    return autoprune.prune(task.model, task.example_inputs, 0.5, task=task).model, task


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def typical(call: Callable[[], object], times: int) -> float:
    """The median of so many calls."""
    return statistics.median(seconds(call) for _ in range(times))


def batch_for(model: nn.Module, images: Tensor) -> int:
    """For which a call takes about `WANTED_S`."""
    return min(range(1, 33), key=lambda size: abs(typical(lambda: model(images[:size]), 9) - WANTED_S))


def overhead(model: nn.Module, watched: Monitor, images: Tensor, pairs: int) -> tuple[float, float, float]:
    """What each call takes more, as a share of the model's: the median over pairs of calls, each first in turn, with
    its 95 % interval. Looks, which few calls have, leave a median as it is."""
    found = np.empty((pairs, 2))
    for k in range(pairs):
        for place in (0, 1) if k % 2 else (1, 0):
            called = (model, watched)[place]
            found[k, place] = seconds(lambda called=called: called(images))
    logs = np.log(found[:, 1] / found[:, 0])
    drawn = np.median(logs[np.random.default_rng(0).integers(pairs, size=(1000, pairs))], 1)
    low, high = np.expm1(np.percentile(drawn, [2.5, 97.5]))
    return float(np.expm1(np.median(logs))), float(low), float(high)


def until_found(watching: Callable[..., Monitor], images: Tensor, batch: int, shift: float, seed: int) -> int:
    """How many images with more brightness go by until the alarm, after some without; -1: more than 1000."""
    alarms: list[Drift] = []
    watched = watching(on_drift=alarms.append)
    generator = torch.Generator().manual_seed(seed)
    before = int(torch.randint(5, 60, (), generator=generator))
    for count in range(before + 1000 // batch):
        chosen = images[torch.randint(len(images), (batch,), generator=generator)]
        watched(chosen if count < before else chosen + shift)
        if count >= before and alarms:
            return (count - before + 1) * batch
    return -1


def false_alarms(reference: DriftTest, told: np.ndarray, windows: int, window: int) -> int:
    """Of one stream, in so many windows of samples drawn from these."""
    rng = np.random.default_rng(0)
    return sum(reference.add(told[rng.integers(len(told), size=32)]) for _ in range(windows * window // 32))


def drawn_alarms(rate: float, windows: int) -> int:
    """In so many windows, each with a reference and samples of its own: numbers with heavy tails that go together."""
    rng, alarms = np.random.default_rng(1), 0
    for seed in range(windows):
        sample = (rng.standard_t(2, (456, 1)) + rng.standard_t(2, (456, 8))).astype(np.float32)
        test = DriftTest(tuple("abcdefgh"), sample[:200], 256, rate, seed)
        alarms += sum(test.add(part) for part in np.split(sample[200:], 8))
    return alarms


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    model, task = finished()
    images = torch.cat([part[0] for name in ("validation", "test") for part in task.split(name)])
    baseline = Baseline.of(model, task)

    def watching(share: float = Watch.share, on_drift: Callable[[Drift], None] | None = None) -> Monitor:
        return Monitor(model, baseline, Watch(share=share, rate=RATE), reporter=SILENT, on_drift=on_drift)

    with torch.no_grad():
        batch = batch_for(model, images)
        watched, pairs = watching(), 1000 if quick else 20000
        ratio, low, high = overhead(model, watched, images[:batch], pairs)
        print(f"a call: {1e3 * typical(lambda: model(images[:batch]), 99):.2f} ms at a batch of {batch}")
        print(f"each call takes {ratio:+.2%} [{low:+.2%}, {high:+.2%}] more; looking {watched.state().overhead:.2%}")
        for shift in SHIFTS:
            runs = [until_found(watching, images, batch, shift, seed) for seed in range(5 if quick else 20)]
            missed = runs.count(-1)
            found = sorted(run for run in runs if run >= 0) or [-1]
            print(
                f"brightness {shift:+}: found after {found[len(found) // 2]} images (median), {found[-1]} (most); "
                f"missed {missed} of {len(runs)}"
            )
        telling, reference = baseline.inputs["x"].telling, baseline.inputs["x"].reference
        told = np.concatenate([telling(part) for part in images.split(8)])
        windows = 1000 if quick else 20000
        test = DriftTest(reference.names, reference.sorted, 256, RATE)
        print(f"images as they are: {false_alarms(test, told, windows, 256)} alarms in {windows} windows of 256")
    windows = 1000 if quick else 20000
    for rate in (0.1, 0.01):
        print(f"drawn numbers, at most {rate:.0%}: {drawn_alarms(rate, windows) / windows:.2%} of {windows} windows")


if __name__ == "__main__":
    main()
