"""Precisions as a part of a search: what is scored is what is timed, whatever it computes in."""

import json

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

import autoprune
from autoprune.errors import UsageError

QUICK = {
    "trials": 3, "finetune_epochs": 1, "finalists": 1, "repair": "none", "criterion": "l1", "sampler": "random",
    "seed": 1, "profiler": "onnxruntime",
}  # fmt: skip
TASK = """
import autoprune, torch
from torch import nn


def task():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3)).eval()
    data = (torch.randn(120, 4), torch.arange(120) % 3)
    return autoprune.Classification(net, data=data, example_inputs=(torch.randn(2, 4),))
"""


def loss_of(session, task, split):
    """Of a graph by itself, two samples at a time."""
    found, labels = [], []
    for x, y in task.split(split):
        padded = torch.cat([x, x[-1:]])[: len(x) + len(x) % 2]
        logits = [session.run(None, {"input": part.numpy()})[0] for part in padded.split(2)]
        found.append(torch.from_numpy(np.concatenate(logits))[: len(x)])
        labels.append(y)
    return float(nn.functional.cross_entropy(torch.cat(found), torch.cat(labels)))


class Wide(nn.Module):
    """Its channels differ by orders of magnitude, so that ranges of activations leave the small ones nothing."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 16), nn.Linear(16, 3)
        with torch.no_grad():
            self.first.weight.mul_(torch.tensor([1e4] + [1.0] * 15)[:, None])
            self.last.weight[:, 0] = 0

    def forward(self, x):
        return self.last(self.first(x))


def wide_task():
    torch.manual_seed(0)
    x, net = torch.randn(120, 4), Wide().eval()
    with torch.no_grad():
        labels = net(x).argmax(-1)
    return autoprune.Classification(net, data=(x, labels), example_inputs=(x[:2],))


def test_a_profiler_without_int8_says_what_it_has(hurried):
    with pytest.raises(UsageError, match=r"'executorch'|'torch-compile'|'torch'.*known: float32, bfloat16"):
        autoprune.evaluate(wide_task(), {"first": 16}, profiler="torch", precision="int8")


def test_scores_in_bfloat16_are_those_of_bfloat16(hurried):
    seen = []

    def evaluate(model, batches):
        (x, _), *_ = batches
        seen.append(model(x))
        return 0.5

    torch.manual_seed(0)
    x = torch.randn(64, 4)
    task = autoprune.Task(
        "seen", nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3)).eval(), (x[:2],),
        {name: [(x, x)] for name in ("calibration", "search", "validation", "test")}, evaluate,
    )  # fmt: skip
    autoprune.evaluate(task, {"0": 16}, precision="bfloat16", repair="none", criterion="l1")
    scored, exact = seen[-1], task.model(x)
    assert not torch.equal(scored, exact)
    assert torch.equal(scored, scored.bfloat16().float())
    assert torch.allclose(scored, exact, atol=0.05)


@pytest.mark.slow
def test_a_finished_model_scores_as_the_file_beside_it(told, tmp_path):
    (tmp_path / "task.py").write_text(TASK)
    found = autoprune.search("task.py:task", "latency=1s", run="r", precision="int8", **QUICK)
    folder = found.best.folder / "onnx"
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    assert b"DequantizeLinear" in (folder / "model.onnx").read_bytes()
    assert found.best.measurements["loss"].value == pytest.approx(
        loss_of(session, found.best.task, "validation"), abs=1e-6
    )
    card = json.loads((folder / "export.json").read_text())
    assert (card["precision"], card["tolerance"]) == ("int8", None)
    assert json.loads((tmp_path / "r" / "front.json").read_text())["profiler"]["precision"] == "int8"
    code, out, _ = told("check", "r", "--budget", "latency=1s", "--floor", "loss<=10", "--json")
    assert code == 0
    (scored,) = (each["value"] for each in json.loads(out)["limits"] if each["limit"] == "loss<=10")
    assert scored == pytest.approx(loss_of(session, found.best.task, "validation"), abs=1e-6)


@pytest.mark.slow
def test_a_floor_that_int8_alone_breaks_is_told(told, tmp_path, caplog):
    budget = ["latency=1s", "accuracy>=-5%"]
    with caplog.at_level("WARNING", logger="autoprune"):
        found = autoprune.search(wide_task(), budget, run=str(tmp_path / "r"), precision="int8", **QUICK)
    assert "1 in float32: that alone falls through the floor" in caplog.text
    assert found.document["dense"]["metrics"]["accuracy"]["value"] < 0.8
