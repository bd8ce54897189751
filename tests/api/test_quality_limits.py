"""Floors under qualities, and limits as they are written, in whole searches."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import yaml

import autoprune
from autoprune.core.budget import AtLeast, AtMost, Budget
from autoprune.core.metric import Metric
from autoprune.errors import UsageError
from autoprune.finetuning.finetune import finetune
from autoprune.options.training_options import TrainingOptions
from autoprune.surgery.cut_model import CutModel

QUICK = {"trials": 8, "finetune_epochs": 1, "finalists": 3}


def test_points_below_dense_are_held_on_the_finished_models(small_task):
    result = autoprune.search(small_task, budget=["params=90%", "accuracy>=-50%"], run="r", **QUICK)
    dense = result.document["dense"]["metrics"]["accuracy"]["value"]
    assert result.best is not None
    assert result.best.measurements["accuracy"].value >= dense - 0.5


def test_floor_under_a_quality_asks_for_the_cheapest_above_it(small_task):
    finetune(CutModel(small_task.model), small_task, None, TrainingOptions(epochs=10), 0, lambda text: None)
    most = 1.2 * small_task.score(small_task.model, "search")["loss"].value
    floor = Budget.of(loss=AtMost(most), objectives=("accuracy", "params"))
    found = autoprune.search(
        small_task, budget=floor, sampler="random", repair="none", run="r", trials=9, finetune_epochs=0
    )
    above = [point for point in found.front if point.feasible]
    assert found.best.plan == min(above, key=lambda point: point.measurements["params"].value).plan
    entries = [json.loads(line) for line in Path("r/measurements.jsonl").read_text().splitlines()]
    losses = {e["trial"]: e["metrics"]["loss"]["value"] for e in entries if e["stage"] == "search"}
    assert found.document["trials"]["infeasible"] == sum(loss > most for loss in losses.values()) > 0
    logged = [json.loads(line) for line in Path("r/log.jsonl").read_text().splitlines()]
    said = [event["best"] for event in logged if event["event"] == "trial" and event["best"] is not None]
    assert said
    assert all(losses[best] <= most for best in said)


def test_a_floor_under_a_quality_that_is_no_objective_makes_it_one(small_task):
    finetune(CutModel(small_task.model), small_task, None, TrainingOptions(epochs=10), 0, lambda text: None)
    floor = Budget.of(accuracy=AtLeast(-0.1, of_dense=True), objectives=("params",))
    found = autoprune.search(
        small_task, budget=floor, sampler="random", run="r", trials=9, finetune_epochs=0, finalists=3
    )
    assert found.document["objectives"] == ["params", "accuracy"]
    assert found.best.feasible
    assert (
        found.best.plan
        == min((p for p in found.front if p.feasible), key=lambda p: p.measurements["params"].value).plan
    )


def test_limits_of_numpy_are_written_as_numbers(small_task):
    budget = Budget.of(params=AtMost(np.float64(0.7123456789), of_dense=True))
    found = autoprune.search(small_task, budget=budget, run="r", trials=3, finetune_epochs=0, timeout=np.float64(600))
    (limit,) = Budget.parse(*found.document["budget"]).limits
    assert limit.value == pytest.approx(0.7123456789)
    assert yaml.safe_load(Path("r/run.yaml").read_text())["budget"] == found.document["budget"]


def test_a_quality_that_is_minimised_may_be_a_share_worse_than_dense(small_task):
    metrics = (Metric("error", "1", lower_is_better=True, low=0.0),)

    def error(model, split):
        return 1.01 - small_task.evaluate(model, split)["accuracy"].value

    task = dataclasses.replace(small_task, evaluate=error, metrics=metrics)
    result = autoprune.search(task, ["params=80%", "error<=300%"], run="r", sampler="random", **QUICK)
    assert result.best is not None
    dense = result.document["dense"]["metrics"]["error"]["value"]
    for point in result.front:
        assert point.feasible == (point.measurements["error"].value <= 3 * dense)
    with pytest.raises(UsageError, match="error<=101%"):
        autoprune.search(task, "error>=-1%", run="r2", **QUICK)
