import json

import numpy as np
import pytest
import torch
from torch import nn

from autoprune.bench.replay import Replay, replay
from autoprune.cost_model.units import aten, graph, taken_apart
from autoprune.errors import DeviceError
from autoprune.exporters.onnx import create
from autoprune.surgery.example import Example


def net(width=16):
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, 8, 1), nn.Flatten(), nn.Linear(8 * 64, 4)
    ).eval()  # fmt: skip


EXAMPLE = Example.of(torch.randn(2, 3, 8, 8))
#: Of all multiply-adds, two operations each.
FLOPS = 2 * 2 * (64 * 27 * 16 + 64 * 16 * 8 + 512 * 4)


def test_units_name_their_module_and_add_up_to_the_model():
    found = aten.units(net(), EXAMPLE)
    assert sum(unit.flops for unit in found) == FLOPS
    by_layer = {unit.layer: unit.operator for unit in found}
    assert by_layer["0"] == "convolution"
    assert by_layer["2"] == "relu"
    assert by_layer["5"] == "addmm"


def test_a_replayed_operator_computes_on_tensors_of_the_same_sizes():
    for unit in aten.units(net(), EXAMPLE):
        module, example = replay(unit.artifact().content)
        out = example.call(module)
        if unit.operator == "convolution" and unit.layer == "0":
            assert out.shape == (2, 16, 8, 8)


def test_another_width_is_the_same_family_with_other_sizes():
    narrow, wide = aten.units(net(8), EXAMPLE), aten.units(net(16), EXAMPLE)
    assert [unit.family for unit in narrow] == [unit.family for unit in wide]
    assert narrow[0].key != wide[0].key
    assert wide[0].key == aten.units(net(16), EXAMPLE)[0].key


def test_only_torchs_own_operators_are_replayed():
    with pytest.raises(DeviceError, match="an operator of torch"):
        Replay(b'{"op": "os.system", "args": ["true"], "kwargs": {}}')


@pytest.mark.slow
def test_kernels_of_a_graph_are_fused_and_run_alone():
    import onnxruntime

    exporter = create(net(), EXAMPLE, {})
    found = graph.units(exporter.anew(net(), {}))
    assert [unit.operator for unit in found] == ["Conv", "Conv", "Gemm"]
    assert sum(unit.flops for unit in found) == FLOPS
    assert [unit.layer for unit in found] == ["0", "3", "5"]
    for unit in found:
        artifact = unit.artifact()
        session = onnxruntime.InferenceSession(artifact.content, providers=["CPUExecutionProvider"])
        (out,) = session.run(None, dict(artifact.inputs))
        assert np.isfinite(out).all()


@pytest.mark.slow
def test_the_roof_is_a_product_and_a_sum():
    for form in ("module", "onnx"):
        product, total = taken_apart(form).peak_units()
        assert product.flops == 2 * 1024**3
        assert total.moved == 3 * 4 * 2**23


def test_formats_that_cannot_be_taken_apart_are_said():
    with pytest.raises(DeviceError, match="formats module, onnx"):
        taken_apart("tflite")


def test_an_operator_that_opens_files_is_refused(tmp_path):
    call = {"op": "aten.from_file", "args": [str(tmp_path / "x"), True, 10], "kwargs": {}}
    with pytest.raises(DeviceError, match="operator of torch"):
        replay(json.dumps(call).encode())
