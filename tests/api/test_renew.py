"""Finished models made anew: for new data, for new weights, and whether that is called for."""

import dataclasses
import functools
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch

import autoprune
from autoprune.errors import StorageError, UsageError
from autoprune.testing.fakes import RecordingReporter
from tests.conftest import SmallNet, stripes

BUDGET = autoprune.Budget.parse("params=100%", objectives=("accuracy", "params"))  # so that nothing is timed
QUICK = {"trials": 2, "finetune_epochs": 0, "finalists": 1, "repair": "none", "criterion": "l1", "sampler": "random"}


def task_of(images, labels):
    """A task whose dense model has learned it."""
    torch.manual_seed(0)
    model = SmallNet()
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(25):
        chosen = torch.randperm(len(images))[:48]
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images[chosen]), labels[chosen]).backward()
        optimizer.step()
    return autoprune.Classification(model.eval(), data=(images, labels), example_inputs=(images[:2],), name="stripes")


@functools.cache
def straight():
    return task_of(*stripes(300))


@functools.cache
def turned():
    """The same with rows and columns exchanged."""
    images, labels = stripes(300, seed=1)
    return task_of(images.transpose(2, 3).contiguous(), labels)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    where = tmp_path_factory.mktemp("runs") / "stripes-1"
    plan = {"conv1": 12, "conv2": 24}
    autoprune.search(straight(), BUDGET, run=where, plans=[plan], **{**QUICK, "trials": 1})
    return where


def test_a_model_that_holds_is_not_due_and_one_that_does_not_is(run):
    holds = autoprune.renewal_due(run, straight())
    assert not holds.due
    found = autoprune.renewal_due(run, turned())
    assert found.due
    assert found.behind.low > 0.1
    assert "further behind" in found.said


def test_the_same_plan_is_made_again_beside_the_old_run_and_compared(run):
    reporter = RecordingReporter()
    renewed = autoprune.renew(run, turned(), reporter=reporter)
    assert renewed.better
    assert renewed.compared.p_value < 0.05
    assert "take the renewed model" in renewed.said
    assert any("a renewal is due" in note for note in reporter.notes)
    old = autoprune.load(next((run / "models").iterdir()), straight())
    new = renewed.result.best.load()
    assert [each.shape for each in new.parameters()] == [each.shape for each in old.parameters()]
    record = json.loads((run.parent / "stripes-1-v2/renewal.json").read_text())
    assert (record["version"], record["renews"], record["better"]) == (2, "../stripes-1", True)
    assert record["old"]["plan"] == record["new"]["plan"]
    assert all(record["old"][name] != record["new"][name] for name in ("weights", "dense", "data"))


@pytest.mark.slow
def test_what_gains_nothing_is_not_taken_and_has_a_number_of_its_own(run):
    first = autoprune.renew(run, straight(), into=run.parent / "same-1")
    again = autoprune.renew(first.result.run, straight())
    assert (again.version, again.result.run.name, again.better) == (3, "same-1-v2", False)
    assert "keep the old model" in again.said


@pytest.mark.slow
def test_a_search_begins_with_the_plans_of_the_old_front(run):
    renewed = autoprune.renew(run, straight(), trials=3, sampler="random", finalists=1, into="warm")
    lines = map(json.loads, Path("warm/measurements.jsonl").read_text().splitlines())
    plans = [line["plan"] for line in lines if line["stage"] == "search"]
    old = json.loads(next((run / "models").iterdir()).joinpath("plan.json").read_text())["plan"]
    assert len(plans) == 3
    assert {name: plans[0][name] for name in old} == old
    assert renewed.version == 2


def test_a_run_whose_version_is_damaged_is_refused_before_any_work(run, tmp_path):
    old = shutil.copytree(run, tmp_path / "stripes-2")
    (old / "renewal.json").write_text("{}")
    with pytest.raises(StorageError, match=r"renewal\.json"):
        autoprune.renew(old, straight())
    assert [path.name for path in tmp_path.iterdir()] == ["stripes-2"]


def test_another_architecture_and_options_of_no_renewal_are_refused(run):
    other = dataclasses.replace(straight(), model=torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3)))
    with pytest.raises(StorageError, match="the model that"):
        autoprune.renewal_due(run, other)
    with pytest.raises(UsageError, match="options of a renewal"):
        autoprune.renew(run, straight(), plans=[{}])


def test_the_command_says_whether_it_is_due_in_one_line_and_by_its_exit_code(run, told, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tasks_of_test", sys.modules[__name__])
    code, out, err = told("renew", run, "--task", "tasks_of_test:straight", "--check")
    assert (code, out.count("\n")) == (0, 1)
    code, out, err = told("renew", run, "--task", "tasks_of_test:turned", "--check", "--quiet")
    assert code == 8
    assert "autoprune renew" in err
    assert len(err.splitlines()) == 1
