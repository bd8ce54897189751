"""Pooling, resampling and spatial padding: the trailing dimensions change, batch and channels pass on."""

from __future__ import annotations

import math
from typing import Final

from torch import Tensor
from torch.utils._pytree import tree_leaves

from autoprune.surgery.labels import Label, Prod, freeze, split, unify
from autoprune.surgery.rules.contraction import KERNEL, SPATIAL
from autoprune.surgery.tracer import Call, Rule


def resample(call: Call) -> None:
    """The operator's name says how many trailing dimensions are spatial."""
    rank = next(rank for rank in (1, 2, 3) if f"{rank}d" in call.name)
    leading = call.trace.of(call.args[0])[:-rank]
    for label in call.trace.of(call.args[0])[-rank:]:
        freeze(label, SPATIAL)
    for tensor in tree_leaves(call.out):
        if isinstance(tensor, Tensor):
            call.trace.set(tensor, (*leading, *call.trace.fixed(tensor.shape[-rank:], SPATIAL)))


def unpooled(call: Call) -> None:
    """aten.max_unpool2d(x, indices, size): each value back to the position that it came from."""
    rank = 3 if call.name.endswith("3d") else 2
    pairs = list(zip(call.trace.of(call.args[0]), call.trace.of(call.args[1]), strict=True))
    for left, right in pairs[:-rank]:
        unify(left, right)
    for label in call.trace.of(call.args[1])[-rank:]:
        freeze(label, SPATIAL)
    resample(call)


def sampled(call: Call) -> None:
    """aten.grid_sampler_2d(x, grid, ...): (N, C, *positions) at (N, *others, 2)."""
    labels = call.trace.of(call.args[0])
    for label in (*labels[2:], *call.trace.of(call.args[1])):
        freeze(label, SPATIAL)
    call.trace.set(call.out, (*labels[:2], *call.trace.fixed(call.out.shape[2:], SPATIAL)))


def shuffled(call: Call) -> None:
    """aten.pixel_shuffle and aten.pixel_unshuffle(x, factor): channels against positions; (c, r, r) row-major."""
    *batch, channels, _, _ = call.trace.of(call.args[0])
    for label in call.trace.of(call.args[0])[-2:]:
        freeze(label, SPATIAL)
    area = call.args[1] ** 2
    if call.name == "aten.pixel_shuffle":
        channels, window = split(channels, area)
        freeze(window, KERNEL)
    else:
        channels = Prod((channels, *call.trace.fixed((area,), KERNEL)))
    call.trace.set(call.out, (*batch, channels, *call.trace.fixed(call.out.shape[-2:], SPATIAL)))


def windows(call: Call) -> None:
    """aten.im2col(x, kernel, ...): (N, C, H, W) -> (N, C x window, positions); aten.col2im back."""
    labels = call.trace.of(call.args[0])
    for label in labels[2:]:
        freeze(label, SPATIAL)
    if call.name == "aten.im2col":
        area = math.prod(call.args[1])
        channels: Label = Prod((labels[1], *call.trace.fixed((area,), KERNEL)))
    else:
        channels, window = split(labels[1], math.prod(call.args[2]))
        freeze(window, KERNEL)
    call.trace.set(call.out, (labels[0], channels, *call.trace.fixed(call.out.shape[2:], SPATIAL)))


RULES: Final[dict[str, Rule]] = {
    **dict.fromkeys(("aten.max_unpool2d", "aten.max_unpool3d"), unpooled),
    "aten.grid_sampler_2d": sampled,
    "aten.grid_sampler_3d": sampled,
    "aten.pixel_shuffle": shuffled,
    "aten.pixel_unshuffle": shuffled,
    "aten.im2col": windows,
    "aten.col2im": windows,
} | {
    f"aten.{name}{rank}d{tail}": resample
    for rank in (1, 2, 3)
    for name, tail in (
        ("avg_pool", ""),
        ("max_pool", "_with_indices"),
        ("max_pool", ""),
        ("fractional_max_pool", ""),
        ("adaptive_avg_pool", ""),
        ("_adaptive_avg_pool", ""),
        ("adaptive_max_pool", ""),
        ("upsample_nearest", ""),
        ("_upsample_nearest_exact", ""),
        ("upsample_linear", ""),
        ("upsample_bilinear", ""),
        ("upsample_bicubic", ""),
        ("upsample_trilinear", ""),
        ("_upsample_bilinear", "_aa"),
        ("_upsample_bicubic", "_aa"),
        ("reflection_pad", ""),
        ("replication_pad", ""),
    )
}
