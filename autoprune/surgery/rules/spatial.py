"""Pooling, resampling and spatial padding: the trailing dimensions change, batch and channels pass on."""

from __future__ import annotations

from typing import Final

from torch import Tensor
from torch.utils._pytree import tree_leaves

from autoprune.surgery.rules.contraction import SPATIAL
from autoprune.surgery.tracer import Call, Rule


def resample(call: Call) -> None:
    """The operator's name says how many trailing dimensions are spatial."""
    rank = next(rank for rank in (1, 2, 3) if f"{rank}d" in call.name)
    leading = call.trace.of(call.args[0])[:-rank]
    for tensor in tree_leaves(call.out):
        if isinstance(tensor, Tensor):
            call.trace.set(tensor, (*leading, *call.trace.fixed(tensor.shape[-rank:], SPATIAL)))


RULES: Final[dict[str, Rule]] = {
    f"aten.{name}{rank}d{tail}": resample
    for rank in (1, 2, 3)
    for name, tail in (
        ("avg_pool", ""),
        ("max_pool", "_with_indices"),
        ("max_pool", ""),
        ("adaptive_avg_pool", ""),
        ("_adaptive_avg_pool", ""),
        ("adaptive_max_pool", ""),
        ("upsample_nearest", ""),
        ("_upsample_nearest_exact", ""),
        ("upsample_linear", ""),
        ("upsample_bilinear", ""),
        ("upsample_bicubic", ""),
        ("upsample_trilinear", ""),
        ("reflection_pad", ""),
        ("replication_pad", ""),
    )
}
