"""Building a latency table for a search space, and the predictor on top. Knows which models are worth measuring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
import torch
from torch import nn

from autoprune.core.plan import Plan
from autoprune.core.reporter import Reporter
from autoprune.core.space import SearchSpace
from autoprune.measure.device import Device
from autoprune.measure.packing import Slices
from autoprune.measure.predictor import Calibration, Predictor, calibrated, digest
from autoprune.measure.units import Unit
from autoprune.surgery import Traced, apply

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


def first_slices(traced: Traced, plan: Plan) -> Slices:
    """The first slices of each group that a plan cuts: which ones are left is nothing to latency."""
    sizes = {group.name: group.size for group in traced.groups if group.kind != "weight"}
    return {name: torch.arange(count) for name, count in plan.keep if count < sizes.get(name, 0)}


def tabulate(device: Device, space: SearchSpace, seed: int, reporter: Reporter) -> Tabulated:
    """Measure the units of plans from all over a space, and calibrate with whole models; the device's table is kept."""
    start = device.clock.wall()
    traced = device.traced
    if traced is None:
        raise ValueError("the device was opened without a traced model")
    plans = _plans(space, seed)
    table = device.table()
    with reporter.track("whole models", WHOLE) as advance:
        seen = []
        for plan in _spread(plans, WHOLE):
            model, slices = _model(device, traced, plan)
            latency = device.measure(model, slices, {})["latency"].value
            seen.append((device.units(model, slices), latency))
            advance("")
    with reporter.track("plans", len(plans)) as advance:
        needed: list[Unit] = [unit for units, _ in seen for unit in units]
        for plan in plans:
            needed += device.units(*_model(device, traced, plan))
            advance("")
    wanted = table.missing(needed)
    known = len({unit.key for unit in needed}) - len(wanted)
    reporter.note(f"measuring {len(wanted)} units of work, {known} are known already")
    measured = device.tabulate(table, needed, LIMIT_S)
    table.keep()
    calibration = calibrated(table, digest(device.units(device.dense, {})), seen)
    device.store.write(calibration.key, asdict(calibration))
    seconds = device.clock.wall() - start
    return Tabulated(Predictor(table, calibration), measured, known, len(table.failed), seconds)


def known_predictor(device: Device) -> Predictor | None:
    """The predictor of the device's dense model that an earlier run built; None where there is none."""
    found = device.store.read(Calibration(digest(device.units(device.dense, {})), 1.0, 0.0, 0.0, 0).key)
    try:
        return None if found is None else Predictor(device.table(), Calibration(**found))
    except TypeError:  # of another version
        return None


def _model(device: Device, traced: Traced, plan: Plan) -> tuple[nn.Module, Slices]:
    slices = first_slices(traced, plan)
    return apply(device.dense, traced, slices).eval(), slices


def _plans(space: SearchSpace, seed: int) -> list[Plan]:
    """Uniform plans of every ratio, and random ones: each with levels around one ratio of its own, so that small models
    and large ones occur alike."""
    draw = np.random.default_rng(seed)
    plans = [space.uniform(float(ratio)) for ratio in np.linspace(0, 1, 9)]
    for _ in range(PLANS):
        centre = draw.uniform(0, 1)
        plans.append(
            space.plan({v.name: v.nearest(float(np.clip(draw.normal(centre, 0.25), 0, 1))) for v in space.variables})
        )
    return list(dict.fromkeys(plans))


def _spread(plans: Sequence[Plan], count: int) -> list[Plan]:
    """So many of the plans, evenly over their sizes."""
    ordered = sorted(plans, key=lambda plan: sum(kept for _, kept in plan.keep))
    places = np.linspace(0, len(ordered) - 1, min(count, len(ordered))).round().astype(int)
    return [ordered[place] for place in dict.fromkeys(places.tolist())]
