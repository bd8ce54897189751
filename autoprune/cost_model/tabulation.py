"""Building a latency table for a search space, and the predictor on top. Knows which models are worth measuring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from autoprune.core.plan import Plan
from autoprune.core.reporter import Reporter
from autoprune.cost_model.device_table import DeviceTable
from autoprune.cost_model.predictor import Predictor, calibrated
from autoprune.cost_model.units import Unit
from autoprune.measure.device import Device
from autoprune.search_spaces.space import SearchSpace
from autoprune.surgery import Traced, apply
from autoprune.surgery.cut_model import CutModel

#: Random plans whose units are measured, and whole models that calibrate their sums.
PLANS: Final = 64
WHOLE: Final = 14
#: Seconds for units at most; what is left out lies between what was measured.
LIMIT_S: Final = 40.0


@dataclass(frozen=True)
class Tabulated:
    """What building a table came to: units measured now and known before, and seconds it took."""

    predictor: Predictor
    measured: int
    known: int
    failed: int
    seconds: float


def first_slices(traced: Traced, plan: Plan) -> dict[str, Tensor]:
    """The first slices of each group that a plan cuts: which ones are left is nothing to latency."""
    sizes = {group.name: group.size for group in traced.groups if group.kind != "weight"}
    return {name: torch.arange(count) for name, count in plan.keep if count < sizes.get(name, 0)}


def tabulate(device: Device, space: SearchSpace, seed: int, reporter: Reporter) -> Tabulated:
    """Measure the units of plans from all over a space, and calibrate with whole models; the device's table is kept."""
    start = device.spec.clock.wall()
    traced = device.spec.traced
    if traced is None:
        raise ValueError("the device was opened without a traced model")
    plans = [space.at(levels) for levels in scattered(space, PLANS, seed)]
    known, needed, sizes = DeviceTable.of(device), list[Unit](), list[int]()
    with reporter.track("plans", len(plans)) as advance:
        for plan in plans:
            made = cut(device, traced, plan)
            needed += known.units(made)
            sizes.append(parameters(made.model))
            advance("")
    seen = []
    with reporter.track("whole models", WHOLE) as advance:
        for place in evenly(sizes, WHOLE):
            made = cut(device, traced, plans[place])
            latency = device.measure(made, {})["latency"].value
            seen.append((known.units(made), latency))
            advance("")
    table = known.table
    wanted = table.missing(needed)
    before = len({unit.key for unit in needed}) - len(wanted)
    reporter.note(f"measuring {len(wanted)} units of work, {before} are known already")
    measured = known.fill(needed, LIMIT_S)
    known.keep()
    calibration = calibrated(table, seen)
    seconds = device.spec.clock.wall() - start
    return Tabulated(Predictor(table, calibration), measured, before, len(table.failed), seconds)


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
