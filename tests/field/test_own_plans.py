"""Plans that a user writes or edits."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import autoprune
from autoprune.errors import StorageError, UsageError

QUICK = {"budget": "params=90%", "run": "r", "finetune_epochs": 0, "finalists": 2, "sampler": "random"}


def searched(run="r"):
    entries = map(json.loads, Path(run, "measurements.jsonl").read_text().splitlines())
    return [entry for entry in entries if entry["stage"] == "search"]


def names(task):
    return [group.name for group in autoprune.trace(task.model, task.example_inputs).open]


def edited(folder, name, by):
    """A plan.json in which a count is changed."""
    path = Path(folder, "plan.json")
    content = json.loads(path.read_text())
    content["plan"][name] += by
    path.write_text(json.dumps(content))
    return path


def test_an_edited_plan_is_refused_with_the_way_to_try_it(small_task, tmp_path):
    first = names(small_task)[0]
    for folder, keep in (("cut", {first: 0.5}), ("whole", {names(small_task)[1]: 0.5})):
        pruned = autoprune.prune(small_task.model, small_task.example_inputs, keep)
        pruned.save(folder)
        autoprune.load(folder, small_task)
    edited("cut", first, 2)
    with pytest.raises(StorageError, match="autoprune evaluate TASK --plan"):
        autoprune.load("cut", small_task)


def test_a_plan_that_names_what_was_left_whole_is_refused(small_task):
    first, second = names(small_task)[:2]
    autoprune.prune(small_task.model, small_task.example_inputs, {first: 0.5}).save("m")
    content = json.loads(Path("m/plan.json").read_text())
    content["plan"][second] = 1
    Path("m/plan.json").write_text(json.dumps(content))
    with pytest.raises(StorageError, match=second):
        autoprune.load("m", small_task)


def test_given_plans_are_the_first_candidates_whatever_their_counts(small_task):
    first, second = names(small_task)[:2]
    plans = [{first: 13, second: 27}, {first: 5}]
    autoprune.search(small_task, trials=6, plans=plans, **QUICK)
    tried = [entry["plan"] for entry in searched()]
    assert [plan[first] for plan in tried[:2]] == [13, 5]
    assert tried[0][second] == 27
    assert len(tried) == 6
    autoprune.resume("r", task=small_task, trials=7)
    assert len(searched()) == 7


@pytest.mark.parametrize(
    ("plans", "words"),
    [
        ([{"nowhere": 3}], "nowhere"), ([{"conv1": 99}], "slices"), ([3], "counts by group"), ({"conv1": 3}, "list"),
        (["missing.json"], "missing.json"), ([{"conv1": 1.5}], "keep ratio"),
    ],
)  # fmt: skip
def test_plans_that_the_model_cannot_obey_are_refused(small_task, plans, words):
    plans = json.loads(json.dumps(plans).replace("conv1", names(small_task)[0]))
    with pytest.raises(UsageError, match=words):
        autoprune.search(small_task, trials=3, plans=plans, **QUICK)
    assert not Path("r").exists()


def test_one_plan_is_scored_and_timed_as_in_a_search(small_task):
    first = names(small_task)[0]
    found = autoprune.evaluate(small_task, {first: 10})
    result = autoprune.search(small_task, trials=3, plans=[{first: 10}], **QUICK)
    same = next(entry for entry in searched() if entry["plan"][first] == 10)
    assert found.measurements["accuracy"].value == same["metrics"]["accuracy"]["value"]
    assert found.measurements["params"].value == same["metrics"]["params"]["value"] < found.dense["params"].value
    assert found.measurements["latency"].value > 0
    assert sum(parameter.numel() for parameter in found.model.parameters()) == found.measurements["params"].value
    found.save("mine")
    assert autoprune.load("mine", small_task)(small_task.example_inputs[0]).shape == (4, 3)
    assert result.best is not None


@pytest.mark.slow
def test_a_file_is_evaluated_on_the_command_line(told):
    Path("t.py").write_text("from tests.faults.tasks import good\n")
    Path("p.json").write_text('{"0": 0.5}')
    code, out, err = told("evaluate", "t.py:good", "--plan", "p.json", "--json", "--quiet")
    assert code == 0, err
    found = json.loads(out)
    assert found["plan"]["0"] == 8
    assert found["metrics"]["latency"]["value"] > 0
    assert found["metrics"]["params"]["value"] < found["dense"]["params"]["value"]
    code, _, err = told("evaluate", "t.py:good", "--plan", "none.json")
    assert code == 2
    assert "none.json" in err


@pytest.mark.parametrize(("options", "words"), [({"plans": 3}, "plans as a list"), ({"until": 3}, "limits as text")])
def test_what_is_no_list_of_plans_or_limits_is_told(small_task, options, words):
    with pytest.raises(UsageError, match=words):
        autoprune.search(small_task, budget="params=60%", run="r", trials=3, **options)


def test_counts_of_numpy_are_counts(small_task):
    keep: Any = {"conv2": np.int64(12)}
    pruned = autoprune.prune(small_task.model, small_task.example_inputs, keep)
    assert pruned.model.conv2.out_channels == 12


def test_a_lock_that_matches_nothing_is_told_by_prune_too(small_task):
    with pytest.raises(UsageError, match="nosuch"):
        space = autoprune.SpaceConfig(name="own", kinds=("channel",), keep_ratios=(0.5, 1.0), frozen=("nosuch",))
        autoprune.prune(small_task.model, small_task.example_inputs, 0.5, space=space)
