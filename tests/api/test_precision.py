"""Precisions as a part of a search: what is scored is what is timed, whatever it computes in."""

import json
import os
import sys
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

import autoprune
from autoprune.core.group import Group
from autoprune.core.plan import Plan
from autoprune.core.trial import Trial, TrialState
from autoprune.engine.given_plan import prepare_for
from autoprune.engine.settings import Settings
from autoprune.errors import DeviceError, UsageError
from autoprune.options.search_options import SearchOptions
from autoprune.search_spaces.space import SearchSpace
from autoprune.search_spaces.space_config import SpaceConfig

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


def test_what_quantises_tells_its_makers_nothing(tmp_path, monkeypatch):
    pytest.importorskip("openvino")
    from autoprune.profilers import openvino

    (tmp_path / "nncf.py").write_text("import os\nraise ImportError('told ' + os.environ.get('NNCF_CI', 'all'))\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "nncf", raising=False)
    before = dict(os.environ)
    with pytest.raises(DeviceError, match="told 1"):
        openvino.quantised(b"", [])
    assert dict(os.environ) == before


@pytest.mark.slow
def test_openvino_in_int8_without_its_tool_says_what_to_install(hurried, monkeypatch):
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(DeviceError, match=r"'nncf' for the profiler 'openvino'.*pip install 'autoprune\[nncf\]'"):
        autoprune.evaluate(wide_task(), {"first": 16}, profiler="openvino", precision="int8")


@pytest.mark.slow
def test_openvino_scores_what_it_times_in_int8(hurried, capfd):
    pytest.importorskip("nncf")
    found = autoprune.evaluate(
        wide_task(), {"first": 16}, profiler="openvino", precision="int8", repair="none", criterion="l1"
    )
    assert found.dense["accuracy"].value < 0.8  # ranges of activations leave the small channels nothing
    assert found.measurements["latency"].profiler == "openvino"
    assert "Statistics collection" not in capfd.readouterr().out


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


def test_a_plan_has_its_precision_in_records_and_one_without_reads_as_before():
    plan = Plan.of({"a": 3}, "int8")
    trial = Trial(1, plan, TrialState.COMPLETE)
    assert Trial.from_json(json.loads(json.dumps(trial.to_json("search")))).plan == plan
    plain = replace(trial, plan=Plan.of({"a": 3})).to_json("search")
    assert "precision" not in plain
    assert Trial.from_json(plain).plan == Plan.of({"a": 3}) != plan


def test_precision_is_a_variable_of_the_space_like_any_other():
    config = SpaceConfig(name="all", kinds=("channel",), keep_ratios=(1.0, 0.5))
    space = SearchSpace.build([Group("a", "channel", 16, ())], config)
    both = space.with_precisions()
    assert (both.plans, both.sizes) == (2 * space.plans, (*space.sizes, 2))
    assert both.dense() == Plan.of({"a": 16}, "float32")
    assert both.smallest() == Plan.of({"a": 8}, "int8")
    assert both.uniform(0.5) == Plan.of({"a": 8}, "float32")
    assert [both.at(both.places(both.at(levels))) for levels in ((0, 0), (1, 1))] == [both.smallest(), both.dense()]
    assert both.places(Plan.of({"a": 8})) == (0, 1)
    assert both.without_precisions == space
    assert space.without_precisions is None
    assert both.least == space.least
    with pytest.raises(UsageError, match="precision"):
        SearchSpace.build([Group("precision", "channel", 16, ())], config).with_precisions()


def test_a_plan_that_is_given_keeps_its_precision_and_so_it_does_where_a_run_goes_on(small_task):
    given = [Plan.of({"conv1": 8}, "int8"), Plan.of({"conv1": 8}), {"conv1": 8, "precision": 8}]
    options = SearchOptions(precision="float32,int8", profiler="onnxruntime", plans=given)
    begun = prepare_for(small_task, Settings.settled(options))
    for prepared, settings in (begun, prepare_for(small_task, begun[1])):
        space = prepared.space
        plans = [space.at(space.places(Plan.of(kept))) for kept in settings.plans]
        assert [each.precision for each in plans] == ["int8", "float32", "int8"]
        assert {each.kept["conv1"] for each in plans} == {8}
    with pytest.raises(UsageError, match="of 8 or 32 bits"):
        prepare_for(small_task, replace(begun[1], plans=[{"precision": 16}]))


def test_precisions_that_no_runtime_mixes_are_refused(small_task):
    for precision, profiler, said in (
        ("float32,bfloat16", "torch", "float32,int8"),
        ("float32,int4", "onnxruntime", "float32,int8"),
        ("float32,int8", "torch", "known: float32, bfloat16"),
    ):
        with pytest.raises(UsageError, match=said):
            autoprune.search(small_task, "latency=50%", run="r", profiler=profiler, precision=precision)


@pytest.mark.slow
def test_one_front_has_models_in_float32_and_in_int8(hurried, tmp_path):
    (tmp_path / "task.py").write_text(TASK)
    options = {**QUICK, "trials": 6, "sampler": "auto", "finalists": 3}
    found = autoprune.search("task.py:task", "latency=10s", run="r", precision="float32,int8", **options)
    records = [json.loads(line) for line in (tmp_path / "r" / "measurements.jsonl").read_text().splitlines()]
    tried = {(tuple(each["plan"].items()), each["precision"]) for each in records}
    assert {precision for _, precision in tried} == {"float32", "int8"}
    assert len({plan for plan, _ in tried}) > 1
    for point in found.front:
        card = json.loads((point.folder / "onnx" / "export.json").read_text())
        assert card["precision"] == point.plan.precision
        assert json.loads((point.folder / "plan.json").read_text())["precision"] == point.plan.precision
    shown = {point["trial"]: point["precision"] for point in found.document["front"]}
    assert shown == {point.trial: point.plan.precision for point in found.front}
