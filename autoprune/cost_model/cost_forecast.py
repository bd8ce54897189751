"""What every plan of a space will cost, found before the search. Knows what each cost follows; not how it is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from autoprune.core.forecast import CostForecast
from autoprune.core.metric import COSTS, COUNTED, LATENCY
from autoprune.cost_model.latency_forecast import ROUGH, forecast_count, forecast_latency, scaled
from autoprune.cost_model.models_apart import QUICK, ModelsApart
from autoprune.cost_model.precision_cost import Gain
from autoprune.measure.device import Device
from autoprune.search_spaces.space import SearchSpace


def costs(
    device: Device, space: SearchSpace, metrics: Sequence[str], dense: Mapping[str, float], seed: int
) -> tuple[CostForecast, ...]:
    """Forecasts of these costs; dense: what the dense model was found to need, by metric, in SI units.

    Throughput is forecast as seconds a sample. What cannot be forecast is left out.
    """
    plain = space.without_precisions
    if plain is None:
        return _costs(device, space, metrics, dense, seed)
    found = _costs(device, plain, metrics, dense, seed)
    timed = {metric for metric in metrics if _followed(metric) == LATENCY.metric}
    return Gain.measured(device, plain).applied(found, len(plain.variables), timed) if timed else found


def _costs(
    device: Device, space: SearchSpace, metrics: Sequence[str], dense: Mapping[str, float], seed: int
) -> tuple[CostForecast, ...]:
    followed = {metric: _followed(metric) for metric in metrics}
    models = ModelsApart(device, space, seed, depth=QUICK, costs=[*dict.fromkeys(followed.values())])
    found: list[CostForecast] = []
    timed: CostForecast | None = None
    for metric, like in followed.items():
        if like == LATENCY.metric:
            timed = timed or forecast_latency(models)
            whole = dense[LATENCY.metric]
            ratio = {"latency": 1.0, "throughput": 1 / device.batch}.get(metric, dense.get(metric, whole) / whole)
            found.append(scaled(timed, metric, ratio))
        elif like == "size":  # what does not lie in weights, such as a file's header, is about the same in all
            counted = forecast_count(models, like)
            rest = dense[metric] - counted.at(models.dense)
            found.append(replace(counted, metric=metric, offset=counted.offset + rest, error=ROUGH))
        elif like in COUNTED:
            counted = forecast_count(models, like)
            found.append(scaled(counted, metric, dense[metric] / max(counted.at(models.dense), 1e-12)))
    return tuple(found)


def _followed(metric: str) -> str:
    """The cost that it is forecast like; empty where it cannot be."""
    known = COSTS.get(metric)
    return "" if known is None else known.forecast_like or metric
