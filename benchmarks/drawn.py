"""Shapes and textures, drawn, and a MobileNetV2 of `transformers` trained on them: depthwise convolutions.

Twelve classes: a circle, square, triangle or cross, filled with stripes, checks or dots, anywhere, in any size, colour
and direction, on a noisy ground. The network is trained once, in two minutes or so, and kept in the user's cache.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import platformdirs
import safetensors.torch
import torch
from torch.nn import functional
from transformers import MobileNetV2Config, MobileNetV2ForImageClassification

import autoprune

SIDE, CLASSES = 32, 12
COUNTS = {"train": 2000, "calibration": 64, "search": 360, "validation": 700, "test": 700}
EPOCHS, RATE, BATCH = 16, 0.004, 32


def draw(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (N, 3, 32, 32), labels (N,)."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    across, down = np.meshgrid(np.arange(SIDE), np.arange(SIDE))
    images = np.empty((count, 3, SIDE, SIDE), np.float32)
    for k, label in enumerate(labels):
        size, turn = rng.uniform(9, 14), rng.uniform(-0.3, 0.3)
        x, y = across - rng.uniform(size, SIDE - size), down - rng.uniform(size, SIDE - size)
        u, v = (np.cos(turn) * x + np.sin(turn) * y) / size, (np.cos(turn) * y - np.sin(turn) * x) / size
        inside = (
            u**2 + v**2 < 1,
            np.maximum(np.abs(u), np.abs(v)) < 0.8,
            (v > -0.6) & (v < 0.9 - 1.7 * np.abs(u)),
            (np.minimum(np.abs(u), np.abs(v)) < 0.3) & (np.maximum(np.abs(u), np.abs(v)) < 0.95),
        )[label % 4]
        grain, phase = rng.uniform(4.5, 6.5) / size * 6, rng.uniform(0, 2 * np.pi, 2)
        first, second = np.sin(grain * u + phase[0]), np.sin(grain * v + phase[1])
        texture = (first > 0, first * second > 0, first > 2)[label // 4]
        ground, dark, light = rng.uniform(-0.3, 0.3, 3), rng.uniform(-1.2, -0.6, 3), rng.uniform(0.6, 1.2, 3)
        pixels = np.where(inside & texture, light[:, None, None], dark[:, None, None])
        images[k] = np.where(inside, pixels, ground[:, None, None]) + rng.normal(0, 0.15, (3, SIDE, SIDE))
    return torch.from_numpy(images), torch.from_numpy(labels)


def task() -> autoprune.Task:
    """The trained network with its data; latency counts at a batch of 16."""
    splits = {name: draw(count, place) for place, (name, count) in enumerate(COUNTS.items())}
    torch.manual_seed(0)
    config = MobileNetV2Config(
        image_size=SIDE, depth_multiplier=0.5, output_stride=8, num_labels=CLASSES, classifier_dropout_prob=0.0,
        first_layer_is_expansion=True, finegrained_output=False,
    )  # fmt: skip
    model = MobileNetV2ForImageClassification(config)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.1  # the configuration's 0.997 would keep the last batch alone
    kept = Path(platformdirs.user_cache_dir("autoprune")) / f"drawn-{EPOCHS}-{COUNTS['train']}.safetensors"
    if kept.exists():
        model.load_state_dict(safetensors.torch.load_file(kept))
    else:
        train(model, *splits["train"])
        kept.parent.mkdir(parents=True, exist_ok=True)
        safetensors.torch.save_file(model.state_dict(), kept)
    examples = splits["calibration"][0][:16].clone()
    return autoprune.Classification(model.eval(), splits=splits, example_inputs=(examples,), name="drawn")


def train(model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor) -> None:
    """AdamW under a one-cycle rate."""
    model.train()
    steps = EPOCHS * (len(images) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.02)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps)
    order = torch.randperm(len(images))
    for step in range(steps):
        if step % (len(images) // BATCH) == 0:
            order = torch.randperm(len(images))
        chosen = order[(step * BATCH) % (len(images) - BATCH) :][:BATCH]
        loss = functional.cross_entropy(model(images[chosen]).logits, labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rates.step()


if __name__ == "__main__":
    made = task()
    print({name: {key: round(found.value, 4) for key, found in made.score(made.model, name).items()}
           for name in ("search", "test")})  # fmt: skip
