"""How long a search takes, and what ends it early."""

import dataclasses
import json
from pathlib import Path

import pytest
import yaml

import autoprune
from autoprune.api import resume, search
from autoprune.core.clock import SystemClock
from autoprune.errors import UsageError
from autoprune.testing.fakes import RecordingReporter

QUICK = {"budget": "params=70%", "run": "r", "finetune_epochs": 0, "finalists": 1}


class Turned(SystemClock):
    """The machine's clock, put forward by what is said to take long."""

    def __init__(self):
        self.ahead = 0.0

    def wall(self):
        return super().wall() + self.ahead


@pytest.fixture
def clock(monkeypatch):
    made = Turned()
    for module in (search, resume):
        monkeypatch.setattr(module, "SystemClock", lambda: made)
    return made


def slow(task, clock, score=1.0, batch=0.5):
    """The task, whose every score and every batch of training take so many seconds."""

    def evaluate(model, split):
        clock.ahead += score
        return task.evaluate(model, split)

    def loss(outputs, given):
        clock.ahead += batch
        return task.loss(outputs, given)

    return dataclasses.replace(task, evaluate=evaluate, loss=loss)


def searched(run="r"):
    entries = map(json.loads, Path(run, "measurements.jsonl").read_text().splitlines())
    return [entry for entry in entries if entry["stage"] == "search" and entry["state"] != "screened"]


def log(run="r"):
    return [json.loads(line) for line in Path(run, "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(("batch", "trained"), [(1, True), (20, False)])
def test_a_deadline_bounds_all_of_a_search_and_is_counted_down(small_task, clock, batch, trained):
    reporter, start = RecordingReporter(), clock.wall()
    task = slow(small_task, clock, score=6, batch=batch)
    result = autoprune.search(task, "params=70%", run="r", trials=40, deadline=200, finalists=3, reporter=reporter)
    assert 100 < clock.wall() - start < 230
    assert result.best is not None
    assert not result.document["partial"]
    assert any("to the deadline" in text for text in reporter.progress)
    assert any(entry["event"] == "epoch" for entry in log()) == trained
    assert trained or any("no time to fine-tune" in note for note in reporter.notes)


def test_with_patience_an_epoch_takes_one_score_more_and_not_one_a_batch(small_task, clock):
    task, start = slow(small_task, clock, score=20, batch=0.1), clock.wall()
    options = QUICK | {"finetune_epochs": 100, "finetune_patience": 50, "finetune_time": 200, "finetune_steps": 6}
    autoprune.search(task, trials=2, repair="none", criterion="l1", finetune_lr=1e-3, **options)
    assert 3 <= max(entry["epoch"] for entry in log() if entry["event"] == "epoch") <= 10
    assert clock.wall() - start < 500


@pytest.mark.slow
def test_an_epoch_takes_as_long_where_a_regularizer_acts(small_task, clock):
    reporter, own = RecordingReporter(), {"schedule": "regularized", "regularizer": "group-lasso"}
    options = QUICK | own | {"finetune_epochs": 100, "finetune_time": 200, "finetune_steps": 2, "finetune_lr": 1e-3}
    autoprune.search(slow(small_task, clock, batch=10), trials=2, repair="none", reporter=reporter, **options)
    assert 3 <= max(entry["epoch"] for entry in log() if entry["event"] == "epoch") <= 10
    assert not any("time for fine-tuning was up" in note for note in reporter.notes)


@pytest.mark.parametrize(
    ("schedule", "own", "up"),
    [
        ("iterative", {"last": "0.4"}, 3),
        pytest.param("gradual", {"ramp": "0.6"}, 3, marks=pytest.mark.slow),
        pytest.param("one-shot", {}, 5, marks=pytest.mark.slow),
    ],
)
def test_where_time_is_up_a_model_is_what_its_plan_says_and_as_good_as_it_got(small_task, clock, schedule, own, up):
    def told(report):
        clock.ahead += 10_000 * (report.epoch == up)

    options = QUICK | {"finetune_epochs": 9, "finetune_time": 2000, "finetune_lr": 1e-2, "distill": "none"}
    chosen = {"schedule": schedule, "schedule_options": own}
    result = autoprune.search(
        slow(small_task, clock, batch=0), trials=3, repair="none", on_epoch=told, **options, **chosen
    )
    model = autoprune.load(result.best.folder, task=small_task)
    shown = json.loads(Path("r/front.json").read_text())["front"][0]["metrics"]
    assert sum(each.numel() for each in model.parameters()) == shown["params"]["value"]
    assert small_task.score(model, "validation")["accuracy"].value == shown["accuracy"]["value"]
    repaired = searched()[result.best.trial]["metrics"]["loss"]["value"]
    assert (small_task.score(model, "search")["loss"].value < repaired) == (schedule == "one-shot")


def test_the_forecast_is_part_of_the_time_for_candidates(small_task, clock):
    autoprune.search(slow(small_task, clock, score=4.0), trials=10_000, timeout=40, **QUICK)
    assert json.loads(Path("r/front.json").read_text())["stages"]["forecast"] < 25
    assert 3 <= len(searched()) <= 10


def test_a_search_ends_once_a_candidate_is_good_enough(small_task):
    reporter = RecordingReporter()
    autoprune.search(small_task, trials=40, until="params<=65%", reporter=reporter, **QUICK)
    trials = searched()
    assert len(trials) < 40
    assert sum("good enough" in note for note in reporter.notes) == 1
    dense = trials[0]["metrics"]["params"]["value"]
    assert [entry["metrics"]["params"]["value"] <= 0.65 * dense for entry in trials].count(True) == 1
    assert yaml.safe_load(Path("r/run.yaml").read_text())["until"] == "params<=65%"


def test_another_end_may_be_said_when_a_search_goes_on(small_task):
    autoprune.search(small_task, trials=40, until="params<=65%", **QUICK)
    known = len(searched())
    autoprune.resume("r", task=small_task, until=["params<=65%", "accuracy>=1.0"], trials=known + 2)
    assert len(searched()) == known + 2


@pytest.mark.parametrize("until", ["latency<=5ms", "acuracy>=0.9", "accuracy<=0.9", "latency", "accuracy>=97"])
def test_what_no_candidate_can_tell_is_refused_before_any_work(small_task, until):
    with pytest.raises(UsageError):
        autoprune.search(small_task, trials=3, until=until, **QUICK)
    assert not Path("r").exists()


@pytest.mark.parametrize("deadline", ["ten", -1, 0, float("inf")])
def test_a_deadline_is_a_positive_time(small_task, deadline):
    with pytest.raises(UsageError):
        autoprune.search(small_task, trials=3, deadline=deadline, **QUICK)


def test_deadline_and_end_may_stand_in_a_file(told):
    Path("t.py").write_text("from tests.faults.tasks import good\n")
    Path("c.yaml").write_text("deadline: 5m\nuntil: params<=65%\nbudget: params=70%\n")
    code, out, err = told("search", "t.py:good", "--config", "c.yaml", "--dry-run", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["until"] == ["params<=65%"]
    assert found["effort"]["deadline"] == 300
    code, _, err = told("search", "t.py:good", "--until", "latency<=5ms", "--budget", "params=70%", "--dry-run")
    assert code == 2
    assert "--objective latency" in err


def test_a_deadline_of_a_search_that_goes_on_counts_from_now(small_task, clock):
    autoprune.search(slow(small_task, clock), trials=3, deadline=200, **QUICK)
    start = clock.wall()
    clock.ahead += 1000
    autoprune.resume("r", task=slow(small_task, clock, score=3), trials=8, deadline=60)
    assert clock.wall() - start - 1000 < 80
    assert len(searched()) > 3
