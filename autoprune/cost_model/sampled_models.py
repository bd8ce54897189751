"""Models of plans from all over a search space. Knows how they are spread; not what is measured of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from autoprune.core.plan import Plan
from autoprune.measure.device import Device
from autoprune.search_spaces.space import SearchSpace
from autoprune.surgery import Traced, apply
from autoprune.surgery.cut_model import CutModel


def first_slices(traced: Traced, plan: Plan) -> dict[str, Tensor]:
    """The first slices of each group that a plan cuts: which ones are left is nothing to latency."""
    sizes = {group.name: group.size for group in traced.groups if group.kind != "weight"}
    return {name: torch.arange(count) for name, count in plan.keep if count < sizes.get(name, 0)}


def scattered(space: SearchSpace, count: int, seed: int) -> list[tuple[int, ...]]:
    """Uniform plans of every ratio, and `count` random ones, as levels: each around one ratio of its own, so that small
    models and large ones occur alike."""
    draw = np.random.default_rng(seed)
    ratios = [np.full(len(space.variables), ratio) for ratio in np.linspace(0, 1, 9)]
    ratios += [draw.normal(draw.uniform(0, 1), 0.25, len(space.variables)).clip(0, 1) for _ in range(count)]
    plans = [tuple(v.nearest(float(r)) for v, r in zip(space.variables, row, strict=True)) for row in ratios]
    return list(dict.fromkeys(plans))


def cut(device: Device, traced: Traced, plan: Plan) -> CutModel:
    """The model of a plan, to be timed or taken apart; what it computes is of no interest."""
    slices = first_slices(traced, plan)
    return CutModel(apply(device.spec.dense, traced, slices).eval(), plan, slices)


def parameters(model: nn.Module) -> int:
    """How many numbers a model has to learn."""
    return sum(each.numel() for each in model.parameters())


def evenly(sizes: Sequence[int], count: int) -> list[int]:
    """Places of so many of the sizes, evenly over their order, the smallest and the largest among them."""
    order = sorted(range(len(sizes)), key=lambda k: (sizes[k], k))
    places = np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)
    return [order[place] for place in dict.fromkeys(places.tolist())]
