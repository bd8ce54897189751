import numpy as np
import pytest
import torch

from autoprune.core.clock import SystemClock
from autoprune.core.forecast import CostForecast
from autoprune.core.measurement import RunSpec
from autoprune.core.reporter import Silent
from autoprune.cost_model import cost_forecast
from autoprune.cost_model.additive_cost import additive
from autoprune.cost_model.device_table import DeviceTable
from autoprune.cost_model.sampled_models import first_slices
from autoprune.engine.prepare import prepare
from autoprune.errors import DeviceError
from autoprune.measure.counts import counts
from autoprune.measure.device import Device, DeviceSpec
from autoprune.measure.setup import Setup
from autoprune.surgery import apply
from autoprune.tasks.builtin.digits import ResNet
from autoprune.tasks.classification import Classification


@pytest.fixture(scope="module", params=["default", "cnn"])  # "cnn" drops whole layers too
def prepared(request):
    torch.manual_seed(0)
    data = torch.randn(60, 1, 32, 32), torch.randint(0, 10, (60,))
    return prepare(Classification(ResNet((16, 24, 32), 2).eval(), data=data), request.param)


def plans(prepared, count, seed):
    rng = np.random.default_rng(seed)
    drawn = [tuple(int(rng.integers(len(v.levels))) for v in prepared.space.variables) for _ in range(count)]
    return [prepared.space.settled(levels) for levels in drawn]


@pytest.mark.parametrize("metric", ["params", "nonzeros", "flops", "size"])
def test_counted_costs_are_known_for_plans_that_were_never_cut(prepared, metric):
    task, space, traced = prepared.task, prepared.space, prepared.traced
    spec = DeviceSpec(Setup("torch", RunSpec(), ""), task.model, task.example_inputs, traced, 0, SystemClock())
    device = Device(spec, Silent())
    try:
        (found,) = cost_forecast.costs(
            device, space, [metric], {metric: counts(task.model, device.example)[metric].value}, 0
        )
        for levels in plans(prepared, 12, seed=5):
            cut = apply(task.model, traced, first_slices(traced, space.at(levels)))
            assert found.at(levels) == pytest.approx(
                counts(cut, device.example)[metric].value, rel=0.1 if metric == "size" else 1e-6
            )
            of = {name: each.numel() for name, each in cut.named_parameters()}
            conv = next(each for each in found.modules if each.name == "stages.0.0.conv1")
            if metric == "params":
                assert conv.at(levels) == pytest.approx(of.get("stages.0.0.conv1.weight", 0), rel=1e-3)
            elif metric == "flops":  # all of it is some module's
                assert sum(each.at(levels) for each in found.modules) == pytest.approx(found.at(levels), rel=1e-3)
    finally:
        device.close()


@pytest.mark.parametrize("prepared", ["cnn"], indirect=True)
def test_a_format_without_units_is_forecast_by_calls_and_bytes_as_well_as_operations(prepared, monkeypatch):
    task, space, traced = prepared.task, prepared.space, prepared.traced

    def seconds(model):
        """Small convolutions take what calling them and moving their outputs does."""
        each: list[float] = []
        hooks = [
            module.register_forward_hook(lambda _module, _args, out: each.append(1e-4 + 2e-9 * out.numel()))
            for module in model.modules()
            if isinstance(module, torch.nn.Conv2d)
        ]
        found = 1e-12 * counts(model, task.example_inputs)["flops"].value
        for hook in hooks:
            hook.remove()
        return found + sum(each)

    def refused(table, cut):
        raise DeviceError(expected="a graph in float32", received="one in int8", cure="time whole models")

    monkeypatch.setattr(Device, "rough", lambda device, cut: seconds(cut.model))
    monkeypatch.setattr(DeviceTable, "units", refused)
    spec = DeviceSpec(Setup("torch", RunSpec(), ""), task.model, task.example_inputs, traced, 0, SystemClock())
    device = Device(spec, Silent())
    try:
        (found,) = cost_forecast.costs(device, space, ["latency"], {"latency": seconds(task.model)}, 0)
    finally:
        device.close()
    misses = [
        np.log(found.at(levels) / seconds(apply(task.model, traced, first_slices(traced, space.at(levels)))))
        for levels in plans(prepared, 12, seed=5)
    ]
    assert np.sqrt(np.mean(np.square(misses))) < 0.1


def test_costs_without_pieces_are_taken_to_add_up(prepared):
    seen = plans(prepared, 60, seed=1)
    weights = np.linspace(1, 2, len(prepared.space.variables))
    tops = np.array([len(variable.levels) - 1 for variable in prepared.space.variables])
    costs = [3 + float(weights @ (np.array(levels) / tops)) for levels in seen]
    offset, terms = additive(prepared.space, seen, costs)
    made = CostForecast("latency", offset, tuple(terms))
    for levels in plans(prepared, 10, seed=2):
        assert made.at(levels) == pytest.approx(3 + float(weights @ (np.array(levels) / tops)), rel=0.01)
