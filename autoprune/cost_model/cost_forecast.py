"""What every plan of a space will cost on a device, found before the search. Knows tables, units and counts.

Latency is the sum of a model's units by the device's table, scaled by a few whole models that are measured; parameters,
operations and bytes are counted. Where a format has no units, latency is taken to follow the operations.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

import numpy as np
from torch import nn

from autoprune.core.forecast import CostForecast, Term
from autoprune.core.metric import COSTS, KV_CACHE
from autoprune.core.reporter import Reporter
from autoprune.cost_model.additive_cost import Levels, Piece, terms_of
from autoprune.cost_model.device_table import DeviceTable
from autoprune.cost_model.predictor import calibrated
from autoprune.cost_model.tabulation import cut, evenly, parameters, scattered
from autoprune.cost_model.units import Unit, aten
from autoprune.errors import DeviceError, DeviceLostError, UnreachableError
from autoprune.measure.device import Device
from autoprune.models.decoding import cache_sizes
from autoprune.models.weights import stored
from autoprune.search_spaces.space import SearchSpace

#: Random plans that are taken apart, and whole models that are measured.
_RANDOM: Final = 24
_WHOLE: Final = 8
#: Seconds for units at most; what is left out lies between what was measured.
_LIMIT_S: Final = 15.0
#: The least relative error that is believed.
_LEAST: Final = 0.02
#: Relative error of a cost that follows another one.
_ROUGH: Final = 0.1


def costs(
    device: Device, space: SearchSpace, metrics: Sequence[str], dense: Mapping[str, float], seed: int
) -> tuple[CostForecast, ...]:
    """Forecasts of these costs; dense: what the dense model was found to need, by metric, in SI units.

    Throughput is forecast as seconds a sample. What cannot be forecast is left out.
    """
    models = _Models(device, space, seed)
    found: list[CostForecast] = []
    timed: CostForecast | None = None
    for metric in metrics:
        known = COSTS.get(metric)
        like = "" if known is None else known.forecast_like or metric
        if like == "latency":
            timed = timed or models.latency()
            whole = dense["latency"]
            ratio = {"latency": 1.0, "throughput": 1 / device.batch}.get(metric, dense.get(metric, whole) / whole)
            found.append(_scaled(timed, metric, ratio))
        elif like in ("params", "flops", KV_CACHE):
            counted = models.counted(metric)
            found.append(_scaled(counted, metric, dense[metric] / max(counted.at(models.dense), 1e-12)))
        elif like == "size":  # what does not lie in weights, such as a file's header, is about the same in all
            counted = models.counted(metric)
            rest = dense[metric] - counted.at(models.dense)
            found.append(replace(counted, metric=metric, offset=counted.offset + rest, error=_ROUGH))
    return tuple(found)


class _Models:
    """Some models of a space: taken apart once, whatever is asked of them."""

    def __init__(self, device: Device, space: SearchSpace, seed: int) -> None:
        traced = device.spec.traced
        if traced is None:
            raise ValueError("the device was opened without a traced model")
        self._device, self._space = device, space
        self.dense = space.places(space.dense())
        alone = [(*self.dense[:v], 0, *self.dense[v + 1 :]) for v in range(len(self.dense))]
        self._plans = list(dict.fromkeys([self.dense, *alone, *scattered(space, _RANDOM, seed)]))
        self._cut = [cut(device, traced, space.at(plan)) for plan in self._plans]

    def latency(self) -> CostForecast:
        """By the device's table of units; by operations, where this format has none."""
        places = evenly([parameters(each.model) for each in self._cut], _WHOLE)
        timed = self._timed(places)
        places, measured = [*timed], [*timed.values()]
        whole = [self._space.settled(self._plans[k]) for k in places]
        known = DeviceTable.of(self._device)
        try:
            units = [known.units(each) for each in self._cut]
        except DeviceError as error:
            self._reporter.note(f"latency is forecast from operations: {error}")
            return self._by_operations(whole, measured)
        table = known.table
        wanted = [unit for taken in units for unit in taken]
        before = len({unit.key for unit in wanted}) - len(table.missing(wanted))
        done = known.fill(wanted, _LIMIT_S)
        known.keep()
        self._reporter.note(f"latency table: {done} units measured, {before} known before")
        seen = [(units[k], value) for k, value in zip(places, measured, strict=True)]
        fit = calibrated(table, seen)

        def priced(unit: Unit, sizes: tuple[int, ...]) -> float:
            return fit.scales.get(unit.operator, fit.scale) * table.seconds(replace(unit, sizes=sizes))[0]

        pieces = [
            [Piece((unit.layer, unit.family), unit.sizes, partial(priced, unit)) for unit in taken] for taken in units
        ]
        offset, terms = terms_of(self._space, self._plans, pieces)
        made = CostForecast("latency", fit.offset + offset, tuple(terms))
        return replace(made, error=_error(made, whole, measured))

    def _timed(self, places: Sequence[int]) -> dict[int, float]:
        """Seconds of whole models by their place; those that the device cannot run are left to their own trials.

        Raises:
            DeviceError: it can run none of them.
        """
        found: dict[int, float] = {}
        refused: DeviceError | None = None
        for place in places:
            try:
                found[place] = self._device.rough(self._cut[place])
            except (DeviceLostError, UnreachableError):
                raise
            except DeviceError as error:
                refused = error
        if refused is not None and not found:
            raise refused
        return found

    def counted(self, metric: str) -> CostForecast:
        """Parameters, operations, bytes of a decoder's cache, or of weights and buffers."""
        pieces = [
            [Piece(name, (size,), lambda sizes: float(sizes[0])) for name, size in self._sizes(each.model, metric)]
            for each in self._cut
        ]
        offset, terms = terms_of(self._space, self._plans, pieces)
        return CostForecast(metric, offset, tuple(terms))

    def _by_operations(self, whole: Sequence[Levels], measured: Sequence[float]) -> CostForecast:
        counted = self.counted("flops")
        predicted = np.array([counted.at(plan) for plan in whole])
        columns = np.column_stack([np.ones(len(whole)), predicted]) / np.array(measured)[:, None]
        (offset, factor), *_ = np.linalg.lstsq(columns, np.ones(len(whole)), rcond=None)
        factor = max(float(factor), 1e-15)
        made = replace(_scaled(counted, "latency", factor), offset=max(float(offset), 0.0) + factor * counted.offset)
        return replace(made, error=max(_error(made, whole, measured), _ROUGH))

    @property
    def _reporter(self) -> Reporter:
        return self._device.reporter

    def _sizes(self, model: nn.Module, metric: str) -> list[tuple[Hashable, int]]:
        """What adds up to the metric, by name."""
        if metric == "flops":
            return [((u.layer, u.family), round(u.flops)) for u in aten.units(model, self._device.example)]
        if metric == KV_CACHE:
            return [*cache_sizes(model, self._device.example).items()]
        if metric == "params":
            return [(name, parameter.numel()) for name, parameter in model.named_parameters()]
        return [(name, each.numel() * each.element_size()) for name, each in stored(model).items()]


def _scaled(found: CostForecast, metric: str, factor: float) -> CostForecast:
    terms = tuple(Term(t.variables, t.shape, tuple(factor * value for value in t.values)) for t in found.terms)
    return replace(found, metric=metric, offset=factor * found.offset, terms=terms)


def _error(made: CostForecast, plans: Sequence[Levels], measured: Sequence[float]) -> float:
    """The relative standard deviation of predictions from what was measured."""
    misses = [np.log(max(made.at(plan), 1e-12) / value) for plan, value in zip(plans, measured, strict=True)]
    # A sum may fall below zero where a model has hardly anything left: that it is wrong is all that this says.
    return max(float(np.sqrt(np.mean(np.square(np.clip(misses, -1, 1))))), _LEAST)
