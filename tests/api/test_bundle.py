"""Several models of a front as one: made, opened again, asked, and shown beside the front."""

import dataclasses
import json
import os
import re
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch

import autoprune
from autoprune.core.measurement import Block
from autoprune.deployment import bundle_times, bundling, requests
from autoprune.deployment.requests import requests_of
from autoprune.errors import BudgetInfeasibleError, StorageError, UsageError
from autoprune.models import folder as folders
from autoprune.models.weights import to_bytes
from autoprune.profilers.torch import TorchProfiler
from autoprune.report.page_data import page_data
from autoprune.store.reading import read_run
from autoprune.tasks.locate import locate
from autoprune.testing.fakes import RecordingReporter
from tests.report.runs import make_run

#: Labels are the largest of three numbers. Three neurons tell them where one is positive, six always, two do nothing.
TASK = """
import autoprune, torch
from torch import nn


def task():
    net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    eye, none = torch.eye(3), torch.zeros(2, 3)
    with torch.no_grad():
        net[0].weight.copy_(torch.cat([8 * eye, -4 * eye, none]))
        net[2].weight.copy_(torch.cat([eye, -2 * eye, none]).T)
        net[0].bias.zero_(), net[2].bias.zero_()
    inputs = torch.randn(400, 3, generator=torch.Generator().manual_seed(0))
    return autoprune.Classification(net, data=(inputs, inputs.argmax(1)), example_inputs=(inputs[:4],))
"""


def kept(task, count, folder, trial, spec="task.py:task"):
    """A model in its folder."""
    pruned = autoprune.prune(task.model, task.example_inputs, {"0": count}, criterion="l1")
    record = folders.PrunedModel(trial=trial, task=spec, plan=pruned.plan, slices=pruned.slices, form=pruned.form)
    folders.write(folder, record, to_bytes(pruned.model), "")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run with models of three, six and seven neurons, and the task of which they were cut."""
    place = tmp_path_factory.mktemp("made")
    (place / "task.py").write_text(TASK)
    before = Path.cwd()
    os.chdir(place)
    try:
        task = locate("task.py:task", RecordingReporter())
    finally:
        os.chdir(before)
    run = make_run(place / "r", trials=8)
    front = json.loads((run / "front.json").read_text())
    point, numbers = front["front"][0], {2: 3, 5: 6, 7: 7}
    metrics = json.loads(json.dumps(point["metrics"]))
    front["front"] = []
    for trial, count in numbers.items():
        metrics["latency"] |= dict.fromkeys(("value", "low", "high"), (count - 2) * 0.001)
        front["front"].append(point | {"trial": trial, "metrics": json.loads(json.dumps(metrics))})
        kept(task, count, run / "models" / str(trial), trial)
    front |= {"best": 7, "profiler": {"name": "torch", "threads": 1, "batch": 0, "precision": "float32"}}
    (run / "front.json").write_text(json.dumps(front))
    return run, task


@pytest.fixture
def run(made, tmp_path, monkeypatch):
    monkeypatch.setattr(requests, "MOST", 12)
    monkeypatch.setattr(bundle_times, "_ROUNDS", 3)
    shutil.copytree(made[0].parent, tmp_path, dirs_exist_ok=True)
    return Path("r")


@pytest.fixture
def task(made):
    return made[1]


@pytest.fixture
def paced(monkeypatch):
    """A microsecond an operation; that a bundle decides takes nothing, or the seconds that are written here."""
    price, done = {"decides": 0.0}, []

    def run_block(profiler, handle, min_s, min_runs):
        done.clear()
        handle.example.call(handle.model)
        seconds = 1e-6 * sum(done) + price["decides"] * isinstance(handle.model, bundle_times._Asked)
        return Block((seconds,) * min_runs, (seconds,) * min_runs)

    linear = torch.nn.Linear.forward
    count = lambda layer, given: done.append(2 * given.shape[0] * layer.weight.numel()) or linear(layer, given)  # noqa: E731
    monkeypatch.setattr(torch.nn.Linear, "forward", count)

    monkeypatch.setattr(TorchProfiler, "run_block", run_block)
    return price


def test_of_all_pairs_the_cascade_that_takes_least_is_made(run, paced, hurried):
    found = autoprune.bundle(run, "cascade")
    assert [each.member.name for each in found.members] == ["2", "5"]  # the largest of the three is no better
    own, alone = found.measurements, found.members[1].measurements
    assert own["latency.mean"].value < 0.8 * alone["latency.mean"].value
    assert own["accuracy"].value == alone["accuracy"].value == 1.0


def test_a_cascade_that_is_no_faster_than_one_model_that_is_as_good_is_refused_with_the_numbers(run, paced, told):
    paced["decides"] = 0.001
    code, out, err = told("bundle", run, "--members", "2,5", "--quiet")
    assert (code, out) == (3, "")
    (line,) = err.strip().splitlines()
    assert re.search(r"1\.\d+ ms for 2 and 5, 0\.288 ms for 5 alone", line)
    assert "--policy-option drop=0.01" in line
    assert not (run / "bundles" / "cascade").exists()


def test_a_cascade_that_loses_its_gain_on_the_validation_split_is_refused(run, paced, hurried, monkeypatch):
    monkeypatch.setattr(bundling, "requests_of", lambda *given: paced.update(decides=0.001) or requests_of(*given))
    with pytest.raises(BudgetInfeasibleError, match=r"faster in the mean than 5 alone; .*1\.0000, and 0\.288 ms"):
        autoprune.bundle(run, "cascade", members=[2, 5])
    assert not (run / "bundles" / "cascade").exists()


def test_a_cascade_is_as_good_as_the_large_model_and_hands_over_what_is_unsure(run, task, paced, hurried):
    found = autoprune.bundle(run, "cascade", members=[2, 5])
    small, large = found.members
    assert found.folder == run / "bundles" / "cascade"
    assert found.measurements["accuracy"].value == large.measurements["accuracy"].value == 1.0
    assert small.measurements["accuracy"].value < 1.0
    assert small.share == 1.0
    assert large.share < 0.3  # an eighth of the samples has no positive number
    assert found.measurements["latency.mean"].n == found.requests >= 12
    assert found.measurements["accuracy"].split == "validation"
    bundle = autoprune.load_bundle(found.folder)
    inputs = torch.randn(50, 3)
    assert torch.equal(bundle(inputs).argmax(1), inputs.argmax(1))
    assert bundle.answered[1] < bundle.answered[0] == 50
    with pytest.raises(UsageError, match="confidence="):
        autoprune.load_bundle(found.folder, model=task.model)(inputs)


def test_what_it_is_expected_to_take_stands_beside_the_front(run, told):
    code, out, _ = told("bundle", run, "--policy", "deadline", "--quiet")
    assert (code, "worst case" in out) == (0, True)
    code, out, _ = told("front", run)
    row = next(line for line in out.splitlines() if "deadline" in line)
    assert "ms" in row
    code, out, _ = told("front", run, "--json")
    (shown,) = json.loads(out)["bundles"]
    assert (shown["name"], shown["members"]) == ("deadline", ["2", "5", "7"])
    assert shown["metrics"]["latency"]["value"] > 0
    assert [each["name"] for each in page_data(read_run(run))["bundles"]] == ["deadline"]
    assert told("runs", "clean", run, "--whole", "--dry-run")[0] == 0  # it is no file of a user's
    card = (run / "bundles" / "deadline" / "README.md").read_text()
    assert "not the worst case" in card


def test_slices_that_are_equal_are_stored_once_others_apart_and_damage_is_told(run, task, hurried):
    found = autoprune.bundle(run, "load", members=[2, 5], output="nested")
    assert found.stored < 0.8 * found.apart
    stored = safetensors.torch.load_file("nested/model.safetensors")
    assert sum(each.numel() * each.element_size() for each in stored.values()) == found.stored
    bundle, inputs = autoprune.load_bundle("nested", model=task.model), torch.randn(9, 3)
    for trial, member in zip((2, 5), bundle.members, strict=True):
        alone = autoprune.load(run / "models" / str(trial), model=task.model)
        assert torch.equal(member(inputs), alone(inputs))
    path = run / "models" / "2"
    record, _ = folders.read(path)
    model = autoprune.load(path, model=task.model)
    trained = {name: each + 1 for name, each in model.state_dict().items()}
    folders.write(path, record, safetensors.torch.save(trained), "")
    apart = autoprune.bundle(run, "load", members=[2, 5], output="apart")
    assert apart.stored == apart.apart
    member = autoprune.load_bundle("apart", model=task.model).members[0]
    assert torch.equal(member[0].bias, trained["0.bias"])
    content = Path("apart/model.safetensors").read_bytes()
    for damage in (content[:-8] + b"damaged!", b""):
        Path("apart/model.safetensors").write_bytes(damage)
        with pytest.raises(StorageError, match=r"apart/bundle\.json"):
            autoprune.load_bundle("apart", model=task.model)


def test_a_bundle_whose_members_were_timed_for_one_sample_and_all_opens(run, task, hurried):
    autoprune.bundle(run, "load", members=[2, 5], output="old")
    path = Path("old/bundle.json")
    record = json.loads(path.read_text())
    for member in record["members"]:
        del member["parts"]
        member["one"] = 0.5 * member["seconds"]
    path.write_text(json.dumps(record))
    assert autoprune.load_bundle("old", model=task.model)(torch.randn(9, 3)).shape == (9, 3)


def test_what_is_said_of_a_request_chooses_who_answers(run, task, hurried):
    autoprune.bundle(run, "context", members=[2, 5], options={"night-shift": "2"})
    bundle = autoprune.load_bundle(run / "bundles" / "context")
    below = -torch.rand(6, 3) - 0.1  # of which the small one knows nothing
    assert torch.equal(bundle(below).argmax(1), below.argmax(1))
    assert torch.equal(bundle.asked(key="day")(below), bundle(below))
    assert not torch.equal(bundle.asked(key="night-shift")(below), bundle(below))
    assert bundle.answered == [6, 24]
    with pytest.raises(UsageError, match="did you mean 'key'"):
        bundle.asked(keys="day")


def test_a_cascade_needs_to_know_how_sure_outputs_are(run, task, hurried):
    unsure = dataclasses.replace(task, confidence=None)
    with pytest.raises(UsageError, match="confidence="):
        autoprune.bundle(run, "cascade", members=[2, 5], task=unsure)
    assert not (run / "bundles" / "cascade").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["r", "--policy", "cascad"], 2, ["did you mean 'cascade'", "deadline"]),
        (["r", "--members", "5"], 2, ["at least two models", "--members 5,36"]),
        (["r", "--members", "5,5"], 2, ["at least two models"]),
        (["r", "--members", "5,x"], 2, ["numbers of trials", "'x'"]),
        (["r", "--members", "5,77"], 2, ["known: 2, 5, 7"]),
        (["r/models/2"], 2, ["at least two models"]),
        (["r", "--output", "."], 2, ["not there yet"]),
        (["r", "--policy", "deadline", "--policy-option", "lat=1"], 2, ["did you mean 'late'"]),
        (["r/models/2", "other"], 2, ["models of one task", "'task.py:task' and 'task.py:other'"]),
        (["nothing"], 6, ["nothing"]),
        (["r", "--policy-option", "drop"], 2, ["--policy-option NAME=VALUE"]),
    ],
)
def test_bad_input_is_one_line(run, task, told, arguments, code, words):
    if "other" in arguments:
        kept(task, 3, Path("other"), 1, "task.py:other")
    found, out, err = told("bundle", *arguments, "--quiet")
    assert (found, out) == (code, "")
    (line,) = err.strip().splitlines()
    for word in words:
        assert word in line


@pytest.mark.parametrize("place", ["front.json", "models/5/plan.json"])
def test_quantised_models_are_refused(run, place):
    path = run / place
    data = json.loads(path.read_text())
    (data["profiler"] if place == "front.json" else data)["precision"] = "int8"
    path.write_text(json.dumps(data))
    with pytest.raises(UsageError, match="not quantised"):
        autoprune.bundle(run, "load")


def test_models_of_two_dense_models_are_not_put_together(run, task):
    other = dataclasses.replace(task, model=torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Linear(8, 3)))
    kept(other, 3, Path("other"), 1)
    with pytest.raises(UsageError, match="cut from one dense model"):
        autoprune.bundle(["r/models/2", "other"], task=task)
