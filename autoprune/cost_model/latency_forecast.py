"""What every plan of a space will take on a device. Knows models taken apart, and a few whole ones that were measured.

Latency is the sum of a model's units by the device's table, scaled by the whole models. Where a format has no units, it
is taken to follow what each model has to do: operations, bytes that move, operators that are called.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import numpy as np

from autoprune.core.forecast import CostForecast, ModuleCost, Term
from autoprune.core.metric import LATENCY
from autoprune.cost_model.additive_cost import Floats, Piece, forecast_of
from autoprune.cost_model.calibration import Calibration, calibrated
from autoprune.cost_model.models_apart import THOROUGH, WORK, ModelsApart
from autoprune.cost_model.table import Table
from autoprune.cost_model.units import Unit
from autoprune.errors import DeviceError
from autoprune.measure.device import Device
from autoprune.search_spaces.space import SearchSpace

#: The least relative error that is believed, and that of a cost which follows another one.
_LEAST: Final = 0.02
ROUGH: Final = 0.1


@dataclass(frozen=True, kw_only=True)
class Tabulated:
    """A forecast of latency from a table, and what it rests on.

    Attributes:
        forecast: Of every plan of the space.
        table: The device's units.
        calibration: How whole models relate to sums of units.
        measured: Units that were measured for it.
        known: Units that were known before.
        seconds: That all of it took.
    """

    forecast: CostForecast
    table: Table
    calibration: Calibration
    measured: int
    known: int
    seconds: float = 0.0


def tabulate(device: Device, space: SearchSpace, seed: int) -> Tabulated:
    """Fill the device's table with the units of plans from all over a space, and keep it.

    Raises:
        DeviceError: the device's format cannot be taken apart, or it runs none of the models.
    """
    clock = device.spec.clock
    start = clock.wall()
    with device.reporter.track("whole models", THOROUGH.whole) as advance:
        models = ModelsApart(device, space, seed, depth=THOROUGH, costs=[LATENCY.metric])
        timed = models.timed(advance)
    return replace(by_table(models, timed), seconds=clock.wall() - start)


def forecast_latency(models: ModelsApart) -> CostForecast:
    """By the device's table of units; by all work, where this format has none."""
    reporter, timed = models.device.reporter, models.timed()
    try:
        made = by_table(models, timed)
    except DeviceError as error:
        reporter.note(f"latency is forecast from operations, bytes moved and calls: {error}")
        return by_work(models, timed)
    reporter.note(f"latency table: {made.measured} units measured, {made.known} known before")
    return made.forecast


def by_table(models: ModelsApart, timed: Mapping[int, float]) -> Tabulated:
    """Measure the units that the table lacks, as far as time allows, and calibrate sums of units.

    Args:
        models: Taken apart.
        timed: Seconds of whole ones by their place.

    Raises:
        DeviceError: this format cannot be taken apart.
    """
    units, known = models.units(), models.table
    wanted = [unit for taken in units for unit in taken]
    before = len({unit.key for unit in wanted}) - len(known.table.missing(wanted))
    done = known.fill(wanted, models.depth.limit_s)
    known.keep()
    fit = calibrated(known.table, [(units[place], value) for place, value in timed.items()])

    def priced(unit: Unit, sizes: tuple[int, ...]) -> float:
        return fit.scales.get(unit.operator, fit.scale) * known.table.seconds(replace(unit, sizes=sizes))[0]

    pieces = [
        [Piece((unit.layer, unit.family), unit.layer, unit.sizes, partial(priced, unit)) for unit in taken]
        for taken in units
    ]
    made = forecast_of(LATENCY.metric, models.space, models.plans, pieces)
    made = replace(made, offset=fit.offset + made.offset)
    made = replace(made, error=_error(models, made, timed))
    return Tabulated(forecast=made, table=known.table, calibration=fit, measured=done, known=before)


def by_work(models: ModelsApart, timed: Mapping[int, float]) -> CostForecast:
    """The sum of a constant and of all `WORK`, each with a factor of at least 0, that is nearest to whole models which
    were measured, by relative squares. Operations alone say too little of small models: there layers that only move
    numbers, and calls, take most of the time. Args as of `by_table`.
    """
    from scipy.optimize import nnls  # half a second, where hardly any search comes

    seconds = np.array([*timed.values()])
    work = [forecast_count(models, name) for name in WORK]
    dense = [max(each.at(models.dense), 1e-12) for each in work]
    shares = [
        [each.at(models.settled(place)) / whole for each, whole in zip(work, dense, strict=True)] for place in timed
    ]
    columns = np.column_stack([np.ones(len(seconds)), np.array(shares)]) / seconds[:, None]
    (offset, *factors), _ = nnls(columns, np.ones(len(seconds)))
    scales = np.array(factors) / dense
    made = _together([scaled(each, LATENCY.metric, float(scale)) for each, scale in zip(work, scales, strict=True)])
    made = replace(made, offset=made.offset + float(offset))
    return replace(made, error=max(_error(models, made, timed), ROUGH))


def _together(found: Sequence[CostForecast]) -> CostForecast:
    """The sum of forecasts of one metric, with a term for each set of variables; by module where all of them know."""
    modules = dict[str, ModuleCost]()
    for each in (module for forecast in found if all(other.modules for other in found) for module in forecast.modules):
        before = modules.get(each.name)
        offset = each.offset + (before.offset if before else 0.0)
        terms = _summed((*(before.terms if before else ()), *each.terms))
        modules[each.name] = replace(each, offset=offset, terms=terms)
    return CostForecast(
        found[0].metric,
        sum(each.offset for each in found),
        _summed(term for each in found for term in each.terms),
        modules=tuple(modules.values()),
    )


def _summed(terms: Iterable[Term]) -> tuple[Term, ...]:
    """The same with one term for each set of variables."""
    found = dict[tuple[tuple[int, ...], tuple[int, ...]], Floats]()
    for term in terms:
        key = term.variables, term.shape
        found[key] = found.get(key, 0.0) + np.array(term.values)
    return tuple(Term(*key, tuple(values.tolist())) for key, values in found.items())


def forecast_count(models: ModelsApart, cost: str) -> CostForecast:
    """One of `COUNTED`, or of `WORK`, of every plan."""
    pieces = [
        [Piece(name, module, (size,), lambda sizes: float(sizes[0])) for name, module, size in sizes]
        for sizes in models.sizes(cost)
    ]
    return forecast_of(cost, models.space, models.plans, pieces)


def scaled(found: CostForecast, metric: str, factor: float) -> CostForecast:
    """A forecast of what is so many times as much."""
    modules = tuple(
        replace(each, offset=factor * each.offset, terms=_times(each.terms, factor)) for each in found.modules
    )
    terms = _times(found.terms, factor)
    return replace(found, metric=metric, offset=factor * found.offset, terms=terms, modules=modules)


def _times(terms: Iterable[Term], factor: float) -> tuple[Term, ...]:
    return tuple(replace(term, values=tuple(factor * value for value in term.values)) for term in terms)


def _error(models: ModelsApart, made: CostForecast, timed: Mapping[int, float]) -> float:
    """The relative standard deviation of predictions from what was measured."""
    said = [max(made.at(models.settled(place)), 1e-12) for place in timed]
    misses = np.log(np.array(said) / np.array([*timed.values()]))
    # A sum may fall below zero where a model has hardly anything left: that it is wrong is all that this says.
    return max(float(np.sqrt(np.mean(np.square(np.clip(misses, -1, 1))))), _LEAST)
