"""Finished models as files: written, run elsewhere, opened again, and held against a budget."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import autoprune
from autoprune import registry
from autoprune.errors import DeviceError, StorageError, UsageError
from autoprune.measure import limits
from tests.hurried import LIMITS

TASK = """
import autoprune, torch
from torch import nn


def task():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3)).eval()
    data = (torch.randn(60, 4), torch.arange(60) % 3)
    return autoprune.Classification(net, data=data, example_inputs=(torch.randn(2, 4),))
"""
QUICK = {"trials": 2, "finetune_epochs": 0, "finalists": 1, "repair": "none", "criterion": "l1", "sampler": "random"}
TEN_LINES = """
import json, sys
sys.modules["autoprune"] = None
import numpy as np
import onnxruntime

card = json.load(open("export.json"))
session = onnxruntime.InferenceSession(card["file"], providers=["CPUExecutionProvider"])
(given,) = card["inputs"]
images = np.ones((5, *given["shape"][1:]), given["dtype"])
print(json.dumps(session.run(None, {given["name"]: images})[0].tolist()))
"""


def quickly(run, budget="params=80%", **options):
    before, limits.USUAL = limits.USUAL, LIMITS
    try:
        return autoprune.search("task.py:task", budget, run=run, seed=1, **QUICK, **options)
    finally:
        limits.USUAL = before


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A run whose task is in `task.py`, and its folder."""
    folder = tmp_path_factory.mktemp("searched")
    (folder / "task.py").write_text(TASK)
    before = Path.cwd()
    os.chdir(folder)
    try:
        return quickly("r"), folder
    finally:
        os.chdir(before)


@pytest.fixture
def result(searched, monkeypatch, hurried):
    found, folder = searched
    monkeypatch.chdir(folder)
    return found


def test_the_best_model_is_exported_and_computes_what_it_did(result, tmp_path):
    cards = result.best.export("torch-export", "safetensors", output=tmp_path / "out")
    assert [card.path.relative_to(tmp_path) for card in cards] == [
        tmp_path.joinpath(*parts).relative_to(tmp_path)
        for parts in (("out", "torch-export", "model.pt2"), ("out", "safetensors", "model.safetensors"))
    ]
    for card in cards:
        assert card.difference <= 1e-4
        assert "batches of the calibration split" in card.compared
        assert card.measurements["latency"].value > 0
    x = torch.randn(3, 4)
    opened = autoprune.load_exported(tmp_path / "out" / "torch-export", trust=True)
    assert torch.allclose(opened(x), result.best.load()(x), atol=1e-6)
    with pytest.raises(UsageError, match="not there yet"):
        result.best.export("torch-export", output=tmp_path / "out")


@pytest.mark.slow
def test_a_script_without_autoprune_runs_the_graph_at_any_batch(result, told, tmp_path):
    code, out, _ = told("export", "r", "--format", "onnx", "--output", tmp_path / "out", "--json", "--quiet")
    (card,) = json.loads(out)
    assert (code, card["format"], card["varies"]) == (0, "onnx", ["batch"])
    done = subprocess.run(
        [sys.executable, "-c", TEN_LINES], capture_output=True, text=True, check=False, cwd=tmp_path / "out" / "onnx"
    )
    assert done.returncode == 0, done.stderr
    expected = result.best.load()(torch.ones(5, 4))
    assert torch.allclose(torch.tensor(json.loads(done.stdout)), expected, atol=1e-5)


@pytest.mark.slow
def test_a_finished_model_has_the_graph_beside_it_that_was_measured(result, tmp_path):
    found = quickly(str(tmp_path / "onnx"), "latency=1s", profiler="onnxruntime")
    folder = found.best.folder / "onnx"
    x = torch.randn(7, 4)
    opened = autoprune.load_exported(folder / "model.onnx")
    assert torch.allclose(opened(x), found.best.load()(x), atol=1e-5)
    card = json.loads((folder / "export.json").read_text())
    assert card["measurements"]["latency"]["value"] == found.best.measurements["latency"].value
    assert card["inputs"][0]["shape"] == [2, 4]


@pytest.mark.slow
def test_the_card_of_a_measured_graph_tells_what_timed_it(result, told, tmp_path):
    found = quickly(str(tmp_path / "r"), "latency=1s", profiler="openvino", precision="bfloat16")
    card = json.loads((found.best.folder / "onnx" / "export.json").read_text())
    assert (card["profiler"], card["precision"]) == ("openvino", "bfloat16")
    assert card["compared"] == "the example inputs, in onnxruntime and float32"
    assert "Latency of these inputs in openvino, bfloat16:" in (found.best.folder / "onnx" / "README.md").read_text()
    x = torch.randn(2, 4)
    assert torch.allclose(autoprune.load_exported(found.best.folder / "onnx")(x), found.best.load()(x), atol=0.1)
    assert told("check", found.best.folder / "onnx", "--budget", "latency=1s")[0] == 0


def test_a_file_that_may_be_code_is_not_opened_without_trust(result, tmp_path):
    (card,) = result.best.export("torch-export", output=tmp_path / "out")
    for place in (card.path, card.folder):
        with pytest.raises(StorageError, match="may run what is in it when it is opened; open it with trust=True"):
            autoprune.load_exported(place)
    altered(card, format="torch_export")
    with pytest.raises(StorageError, match="may run what is in it"):
        autoprune.load_exported(card.folder)


@pytest.mark.slow
def test_a_damaged_card_is_told(result, tmp_path):
    (card,) = result.best.export("onnx", output=tmp_path / "out")
    for wrong in ({"dtype": "compile"}, {"dtype": "float33"}, {"shape": "wide"}, {"shape": [-1]}):
        altered(card, inputs=[{**card.inputs[0], **wrong}])
        with pytest.raises(StorageError, match=r"data types and shapes of inputs in .*export\.json"):
            autoprune.load_exported(card.folder)


def altered(card, **fields):
    file = card.folder / "export.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


def test_what_computes_something_else_does_not_count(result, tmp_path, monkeypatch):
    form = registry.load("exporters", "safetensors")
    opened = form.opened
    monkeypatch.setattr(form, "opened", lambda *given: nn.Sequential(opened(*given), nn.Softmax(-1)))
    with pytest.raises(DeviceError, match=r"within 0\.0001 of torch's"):
        result.best.export("safetensors", output=tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--format", "onxx"], 2, "did you mean 'onnx'?"),
        (["--format", "onnx", "--opset", 9], 2, "an opset from 18 to"),
        (["--format", "safetensors", "--precision", "int8"], 2, "a precision of 'safetensors'"),
        (["--format", "transformers"], 2, "a model of transformers"),
        (["--format", ","], 2, "a known exporter"),
    ],
)  # fmt: skip
def test_what_cannot_be_exported_is_said_in_one_line(result, told, tmp_path, options, code, words):
    found, out, err = told("export", "r", "--output", tmp_path / "out", *options)
    assert (found, out) == (code, "")
    assert words in err.splitlines()[-1]
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_no_format_is_written_where_the_folder_of_one_is_there(tmp_path):
    (tmp_path / "onnx").mkdir()
    with pytest.raises(UsageError, match="not there yet"):
        autoprune.export(nn.Linear(2, 2), ["torch-export", "onnx"], tmp_path, example_inputs=torch.ones(2, 2))
    assert [each.name for each in tmp_path.iterdir()] == ["onnx"]


def test_the_model_that_is_exported_stays_in_its_mode(tmp_path):
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)).train()
    model[1].eval()
    autoprune.export(model, "torch-export", tmp_path / "out", example_inputs=torch.ones(2, 2))
    assert [each.training for each in model.modules()] == [True, True, False]


class Summed(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)


class ByName(Summed):
    def forward(self, x, **others):
        return self.layer(x + 2 * others["y"])


class ByNameAlone(Summed):
    def forward(self, **all_of_them):
        return self.layer(all_of_them["x"] + 2 * all_of_them["y"])


class ByPlace(Summed):
    def forward(self, *parts):
        return self.layer(parts[0] + 2 * parts[1])


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), [(ByName, "torch-export"), (ByNameAlone, "onnx"), (ByPlace, "torch-export")])
def test_arguments_that_a_model_collects_are_exported(tmp_path, kind, name):
    model, x, y = kind().eval(), torch.ones(2, 3), torch.rand(2, 3)
    inputs = (x, y) if kind is ByPlace else {"y": y, "x": x}
    (card,) = autoprune.export(model, name, tmp_path / "out", example_inputs=inputs)
    assert card.difference <= 1e-4


class Bessel(nn.Module):
    def forward(self, x):
        return torch.special.bessel_j0(x)


@pytest.mark.slow
def test_a_cache_that_a_model_returns_is_no_result(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(vocab_size=16, n_embd=8, n_layer=1, n_head=2, n_positions=8, bos_token_id=1)
    ids = {"input_ids": torch.tensor([[3, 4, 5], [6, 7, 8]])}
    pruned = autoprune.prune(transformers.GPT2LMHeadModel(config).eval(), ids, 0.5)
    (card,) = autoprune.export(pruned, "torch-export", tmp_path / "out", example_inputs=ids)
    assert card.varies == ("batch", "sequence")
    longer = torch.tensor([[1, 2, 3, 4, 5]])
    found = autoprune.load_exported(card.path, trust=True)(input_ids=longer)
    assert torch.allclose(found["logits"], pruned.model(longer).logits, atol=1e-6)


@pytest.mark.parametrize(("name", "library"), [("onnx", "torch.onnx.export"), ("executorch", "ExecuTorch")])
def test_an_operator_that_cannot_be_expressed_is_named(name, library, tmp_path):
    try:
        registry.load("exporters", name)
    except DeviceError as error:
        pytest.skip(str(error))
    with pytest.raises(DeviceError, match=rf"{library} can express; received the operator '.*bessel_j0"):
        autoprune.export(Bessel(), name, tmp_path / "out", example_inputs=torch.ones(2, 3))


def test_a_missing_library_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.delitem(sys.modules, "autoprune.exporters.openvino", raising=False)
    with pytest.raises(DeviceError, match=r"pip install 'autoprune\[openvino\]'"):
        autoprune.export(nn.Linear(2, 2), "openvino", tmp_path / "out", example_inputs=torch.ones(2, 2))


@pytest.mark.slow
def test_the_commands_of_a_models_card_do_what_they_say(result, told, tmp_path, monkeypatch):
    card = (result.best.folder / "README.md").read_text().partition("## Export and check")[2]
    written, held = (shlex.split(line)[1:] for line in card.split("```")[1].strip().splitlines())
    assert re.fullmatch(r"params<=[0-9.]+", held[-1])
    assert told(*held, "--quiet")[0] == 0
    code, _, err = told(*written, "--output", tmp_path, "--quiet")
    assert (code, (tmp_path / "onnx" / "model.onnx").exists()) == (0, True), err


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (["--budget", "latency=1s", "--budget", "params=1M", "--floor", "accuracy>=0.01"], 0),
        (["--budget", "latency=1ns"], 3),
        (["--floor", "accuracy>=0.99"], 3),
        (["--floor", "accuracy>=-99%"], 0),
        (["--budget", "latency=50%"], 2),
        (["--budget", "energy=1uJ"], 2),
        ([], 2),
    ],
)
def test_a_finished_model_is_checked(result, told, limits, code):
    found, out, err = told("check", "r", *limits, "--json", "--quiet")
    assert found == code, err
    if code != 2:
        kept = json.loads(out)
        assert kept["kept"] == (code == 0) == all(each["kept"] for each in kept["limits"])


def test_an_export_is_checked_in_its_runtime(result, told, tmp_path):
    result.best.export("openvino", output=tmp_path)
    file = tmp_path / "openvino" / "model.xml"
    code, out, _ = told("check", file, "--budget", "latency=1s", "--floor", "accuracy>=0.01", "--trust")
    assert (code, out.count("yes")) == (0, 2)
    code, _, err = told("check", tmp_path / "openvino", "--budget", "size=10B")
    assert (code, "expected size<=10B; received size" in err) == (3, True)
    card = json.loads((file.parent / "export.json").read_text())
    (file.parent / "export.json").write_text(json.dumps({**card, "task": "elsewhere.py:task"}))
    assert autoprune.check(file, "latency=1s").kept  # who only measures needs no task
    scored = autoprune.check(file, floor="accuracy>=0.01", task="task.py:task").measurements["accuracy"].value
    assert scored == autoprune.check("r", floor="accuracy>=0.01").measurements["accuracy"].value


@pytest.mark.slow
def test_code_is_not_opened_to_be_checked(result, told, tmp_path):
    (card,) = result.best.export("torch-export", output=tmp_path)
    code, _, err = told("check", card.path, "--budget", "latency=1s")
    assert (code, "trust=True" in err) == (6, True)
    assert told("check", card.path, "--budget", "latency=1s", "--trust")[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize(("name", "limit"), [("onnx", "accuracy>=0.01"), ("safetensors", "latency<=1s")])
def test_code_that_an_export_names_is_not_run_to_score_it(result, told, tmp_path, name, limit):
    (card,) = result.best.export(name, output=tmp_path)
    foreign = tmp_path / "foreign.py"
    foreign.write_text(f"{TASK}\nopen({str(tmp_path / 'ran')!r}, 'w').close()\n")
    altered(card, task=f"{foreign}:task")
    code, _, err = told("check", card.folder, "--floor", limit)
    assert (code, "pass --task my_task.py:task, or --trust" in err) == (2, True), err
    assert not (tmp_path / "ran").exists()
    assert told("check", card.folder, "--floor", limit, "--task", "task.py:task")[0] == 0
    assert told("check", card.folder, "--floor", limit, "--trust")[0] == 0
    assert (tmp_path / "ran").exists()


@pytest.mark.slow
def test_an_export_is_run_by_what_takes_its_format(result, told, tmp_path):
    (card,) = result.best.export("onnx", output=tmp_path)
    code, _, err = told("check", card.folder, "--budget", "latency=1s", "--profiler", "torch")
    assert (code, err.splitlines()[-1].count("a profiler that runs files of the format 'onnx'; received 'torch'")) == (
        2,
        1,
    )
    assert told("check", card.folder, "--budget", "latency=1s", "--profiler", "openvino")[0] == 0
