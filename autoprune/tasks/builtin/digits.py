"""The built-in task: scikit-learn's handwritten digits at 32 x 32, and a residual network trained on them.

Knows its data, its network and its recipe. Trained on first use in well under a minute and kept in the user's cache
directory under the digest of the recipe. So that candidates can be told apart, only a third of the digits are for
training, and every split is turned, scaled and shifted at random: the dense network stays near 98 %, networks a fifth
as fast lose a point, the smallest lose ten. Latency counts at a batch for which the dense network needs about 12 ms on
this machine, so that the same budget asks for about the same on any.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

import platformdirs
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional

from autoprune.core.reporter import Reporter
from autoprune.surgery.random_state import forked_random
from autoprune.tasks.arrays import Batches, divide
from autoprune.tasks.classification import Classification
from autoprune.tasks.task import Task

#: How many of the 1797 digits each split gets; a digit is in one split only.
COUNTS: Final = {"train": 600, "calibration": 147, "search": 350, "validation": 350, "test": 350}
#: How often each digit of the other splits than "train" is rendered, differently each time.
RENDERINGS: Final = 3
#: Standard deviation of the noise on every image, in units of the images' own spread.
NOISE: Final = 0.3
LATENCY_BATCH: Final = 10
#: Seconds that the dense network is to need for a batch, and the batches that may be chosen for that.
LATENCY_S: Final = 0.0125
BATCHES: Final = (1, 64)
#: Runs of the one look at the machine.
_LOOKS: Final = 9
CLASSES: Final = 10


@dataclass(frozen=True)
class Recipe:
    """All that decides the trained weights."""

    widths: tuple[int, ...] = (24, 48, 96)
    blocks: int = 2
    seed: int = 0
    epochs: int = 16
    batch: int = 32
    rate: float = 0.05
    decay: float = 5e-4
    torch: str = torch.__version__

    @property
    def digest(self) -> str:
        return hashlib.sha256(
            json.dumps([asdict(self), COUNTS, RENDERINGS, NOISE], sort_keys=True).encode()
        ).hexdigest()[:16]


class Block(nn.Module):
    """Two 3 x 3 convolutions and a shortcut (He et al. 2016, figure 2)."""

    def __init__(self, consumed: int, produced: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(consumed, produced, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(produced)
        self.conv2 = nn.Conv2d(produced, produced, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(produced)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or consumed != produced:
            self.shortcut = nn.Sequential(
                nn.Conv2d(consumed, produced, 1, stride, bias=False), nn.BatchNorm2d(produced)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class ResNet(nn.Module):
    """Images (N, 1, 32, 32) to logits (N, 10); each stage after the first halves the resolution."""

    def __init__(self, widths: tuple[int, ...], blocks: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, widths[0], 3, 1, 1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU())
        self.stages = nn.ModuleList()
        consumed = widths[0]
        for place, width in enumerate(widths):
            stage = [Block(consumed if not k else width, width, 2 if place and not k else 1) for k in range(blocks)]
            self.stages.append(nn.Sequential(*stage))
            consumed = width
        self.head = nn.Linear(consumed, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        logits: Tensor = self.head(functional.adaptive_avg_pool2d(x, 1).flatten(1))
        return logits


class Distorted:
    """Training batches, shuffled and distorted anew on each pass, by torch's global state."""

    def __init__(self, samples: tuple[Tensor, Tensor], size: int) -> None:
        self._batches = Batches(*samples, size, shuffle=True)

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for images, labels in self._batches:
            yield distort(images), labels


def task(reporter: Reporter) -> Task:
    """The dense network, trained or from the cache, with its data."""
    recipe = Recipe()
    splits = data(recipe.seed)
    model = ResNet(recipe.widths, recipe.blocks)
    cached = Path(platformdirs.user_cache_dir("autoprune")) / f"digits-{recipe.digest}.safetensors"
    if not _restore(model, cached, reporter):
        reporter.note(f"training the built-in network once; it is kept in {cached.parent}")
        train(model, splits["train"], recipe, reporter)
        _keep(model, cached, reporter)
    images = splits["calibration"][0][:LATENCY_BATCH].clone()
    made = Classification(
        model.eval(),
        splits={**splits, "train": Distorted(splits["train"], recipe.batch)},
        example_inputs=(images,),
        name="digits",
    )
    return replace(made, choose_batch=partial(batch_for, model, images))


def batch_for(model: nn.Module, images: Tensor, threads: int, reporter: Reporter) -> int:
    """The batch for which the model needs about `LATENCY_S` on this machine, from one look at it.

    Args:
        model: The dense network.
        images: (N, 1, 32, 32), of which it runs.
        threads: Of the processor, as while measuring.
        reporter: Told what was chosen.
    """
    # Of one thread, who takes the processor meanwhile does not count.
    before, seconds, clock = torch.get_num_threads(), [], time.process_time if threads == 1 else time.perf_counter
    torch.set_num_threads(threads)
    try:
        with torch.no_grad():
            for _ in range(_LOOKS):
                start = clock()
                model(images)
                seconds.append(clock() - start)
    finally:
        torch.set_num_threads(before)
    each = sorted(seconds)[_LOOKS // 2] / len(images)
    low, high = BATCHES
    chosen = min(max(round(LATENCY_S / max(each, 1e-9)), low), high)
    reporter.note(
        f"latency counts at a batch of {chosen}, for which the dense network needs {1e3 * each * chosen:.0f} ms"
    )
    return chosen


def data(seed: int) -> dict[str, tuple[Tensor, Tensor]]:
    """The five splits: images (N, 1, 32, 32) of about zero mean and unit spread, labels (N,).

    All but "train" are distorted here, once; "train" is distorted anew on each pass.
    """
    from sklearn.datasets import load_digits  # slow to import, and only this task needs it

    digits = load_digits()
    images = torch.from_numpy(digits.images).float()[:, None] / 16
    images = (functional.interpolate(images, size=(32, 32), mode="bilinear") - 0.3) / 0.38
    total = sum(COUNTS.values())
    splits = divide(
        images, torch.from_numpy(digits.target), seed, {name: count / total for name, count in COUNTS.items()}
    )
    generator = torch.Generator().manual_seed(seed)
    return {
        name: part
        if name == "train"
        else (distort(part[0].repeat(RENDERINGS, 1, 1, 1), generator), part[1].repeat(RENDERINGS))
        for name, part in splits.items()
    }


def train(model: nn.Module, samples: tuple[Tensor, Tensor], recipe: Recipe, reporter: Reporter) -> None:
    """SGD with one cycle of the learning rate, on images turned, scaled and shifted at random; in place.

    Channels-last memory makes an epoch a third faster; the weights come back in the usual format.
    """
    with forked_random(recipe.seed):
        model.apply(lambda module: module.reset_parameters() if isinstance(module, nn.Conv2d | nn.Linear) else None)
    batches = Distorted(samples, recipe.batch)
    _arrange(model.train(), torch.channels_last)
    steps = recipe.epochs * len(batches)
    optimizer = torch.optim.SGD(model.parameters(), recipe.rate, momentum=0.9, weight_decay=recipe.decay, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.rate, total_steps=steps)
    with reporter.track("training digits", steps) as advance, forked_random(recipe.seed):
        for _ in range(recipe.epochs):
            for images, labels in batches:
                optimizer.zero_grad()
                loss = functional.cross_entropy(model(images), labels)
                loss.backward()
                optimizer.step()
                schedule.step()
                advance(f"loss {loss.item():.2f}")
    _arrange(model, torch.contiguous_format)


def distort(images: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Random rotation (+-14 degrees), scale (+-20 %), shift (+-15 % of the half width) and noise for each image.

    generator: what they are drawn from; default: torch's global state.
    """
    count = len(images)
    angle, scale = (torch.rand(2, count, generator=generator) - 0.5) * torch.tensor([[math.pi / 6.3], [0.4]])
    shift = (torch.rand(count, 2, generator=generator) - 0.5) * 0.3
    cos, sin = (1 + scale) * angle.cos(), (1 + scale) * angle.sin()
    rows = torch.stack([torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)], 1)
    grid = functional.affine_grid(rows, list(images.shape), align_corners=False)
    turned = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return turned + NOISE * torch.randn(turned.shape, generator=generator)


def _arrange(model: nn.Module, memory_format: torch.memory_format) -> None:
    for parameter in model.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.to(memory_format=memory_format)


def _keep(model: nn.Module, cached: Path, reporter: Reporter) -> None:
    partial = cached.with_suffix(f".{os.getpid()}.partial")
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(safetensors.torch.save(model.state_dict()))
        partial.replace(cached)
    except OSError as error:
        reporter.warn(f"the trained network could not be kept and will be trained again: {error}")


def _restore(model: nn.Module, cached: Path, reporter: Reporter) -> bool:
    try:
        model.load_state_dict(safetensors.torch.load(cached.read_bytes()))
    except FileNotFoundError:
        return False
    except (OSError, RuntimeError, SafetensorError) as error:
        reporter.warn(f"the cached network {cached} is damaged ({type(error).__name__}) and is trained again")
        return False
    return True
