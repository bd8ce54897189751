from dataclasses import replace

import pytest
from optuna.storages import InMemoryStorage

from autoprune.core.measurement import Measurement
from autoprune.finishing.successive_halving import Ladder
from autoprune.finishing.tuner import Stinted
from autoprune.finishing.tuning_study import TuningStudy
from autoprune.store.ledger import Ledger
from autoprune.training import checkpoint
from tests.searching.test_coordinator import QUALITY
from tests.searching.test_progress import trial

CANDIDATES = [trial(k, 0.5, 100 * k) for k in range(6)]
BINS = {k: k // 3 for k in range(6)}


class Run:
    """A ladder in a run directory that can be opened again; every epoch is written down."""

    def __init__(self, folder, epochs=6):
        self.folder, self.epochs, self.ledger, self.trained = folder, epochs, Ledger(InMemoryStorage()), []
        self.choice = "the first"

    def open(self):
        study = TuningStudy(self.ledger, "s", QUALITY)
        study.chosen(f"{self.choice}, {self.epochs} epochs", lambda: BINS)
        file_of = lambda number: self.folder / f"{number}.safetensors"  # noqa: E731
        return Ladder(
            CANDIDATES, BINS, self.epochs, QUALITY, study, file_of, lambda *told: self.trained.append(told[:2]),
            lambda trial, quality: (quality,),
        )  # fmt: skip

    def result(self, job):
        import safetensors.numpy as safetensors

        scores = {"accuracy": Measurement.exact("accuracy", 0.5 + job.number / 100 + job.done / 1000, "1")}
        state = safetensors.save({}, checkpoint.metadata(job.done + 1, self.epochs, scores))
        return Stinted(job.number, job.done + 1, scores, state)


def test_one_of_each_bin_is_trained_to_the_end_and_the_others_stop_at_the_rung(tmp_path):
    run = Run(tmp_path)
    ladder = run.open()
    for job in ladder.jobs():
        ladder.report(run.result(job))
    assert {k: (lane.outcome, lane.done) for k, lane in ladder.lanes.items()} == {
        0: ("pruned", 2), 1: ("pruned", 2), 2: ("complete", 6), 3: ("pruned", 2), 4: ("pruned", 2), 5: ("complete", 6),
    }  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2.safetensors", "5.safetensors"]


def test_a_ladder_of_one_rung_still_leaves_one_of_each_bin(tmp_path):
    run = Run(tmp_path, epochs=1)
    ladder = run.open()
    for job in ladder.jobs():
        ladder.report(run.result(job))
    assert [k for k, lane in ladder.lanes.items() if lane.outcome == "complete"] == [2, 5]
    assert {lane.done for lane in ladder.lanes.values()} == {1}


def test_only_epochs_that_decide_something_are_scored(tmp_path):
    bins = {0: 0, 1: 0, 2: 1}
    study = TuningStudy(Ledger(InMemoryStorage()), "s", QUALITY)
    study.chosen("once", lambda: bins)
    told = []
    ladder = Ladder(
        CANDIDATES[:3], bins, 6, QUALITY, study, lambda number: tmp_path / f"{number}.safetensors",
        lambda *each: told.append(each), lambda trial, quality: (quality,),
    )  # fmt: skip
    run = Run(tmp_path)
    for job in ladder.jobs():
        found = run.result(job)
        ladder.report(found if found.done in (*job.compared, 6) else replace(found, scores={}, loss=0.5))
    assert {number: lane.outcome for number, lane in ladder.lanes.items()} == {
        0: "pruned",
        1: "complete",
        2: "complete",
    }
    assert {each[:2] for each in told if each[2] is not None} == {(0, 2), (1, 2), (1, 6), (2, 6)}
    assert all(each[3] == 0.5 for each in told if each[2] is None)


@pytest.mark.parametrize("deaths", [(1,), (3, 4), (2, 5, 9, 13)])
def test_a_ladder_that_dies_goes_on_from_the_last_epoch_of_each_lane(tmp_path, deaths):
    whole = Run(tmp_path / "whole")
    ladder = whole.open()
    for job in ladder.jobs():
        ladder.report(whole.result(job))
    run = Run(tmp_path / "killed")
    for death in (*deaths, None):
        ladder = run.open()
        for job in ladder.jobs():
            if death is not None and len(run.trained) >= death:
                break
            ladder.report(run.result(job))
    assert len(run.trained) == len(set(run.trained))
    assert sorted(run.trained) == sorted(whole.trained)
    assert {k: lane.outcome for k, lane in ladder.lanes.items()} == {k: "complete" if k in (2, 5) else "pruned" for k in range(6)}  # fmt: skip


def test_a_checkpoint_that_was_not_told_is_told_and_its_epoch_not_trained_again(tmp_path):
    run = Run(tmp_path)
    ladder = run.open()
    job = next(ladder.jobs())
    (tmp_path / f"{job.number}.safetensors").write_bytes(run.result(job).state)
    again = run.open()
    assert again.lanes[job.number].done == 1
    assert next(each for each in again.jobs() if each.number == job.number).done == 1


def test_a_lane_whose_checkpoint_is_gone_begins_anew(tmp_path):
    run = Run(tmp_path)
    ladder = run.open()
    job = next(ladder.jobs())
    ladder.report(run.result(job))
    (tmp_path / f"{job.number}.safetensors").write_bytes(b"half of")
    assert run.open().lanes[job.number].done == 0


def test_lanes_that_had_only_begun_are_no_failures(tmp_path):
    run = Run(tmp_path)
    run.open()
    next(run.open().jobs())
    again = run.open()
    for job in again.jobs():
        again.report(run.result(job))
    told = TuningStudy(run.ledger, "s", QUALITY)._study.trials
    assert len(told) == 6
    assert {trial.state.name for trial in told} == {"COMPLETE", "PRUNED"}


def test_another_choice_begins_anew_whatever_the_last_one_said(tmp_path):
    run = Run(tmp_path)
    ladder = run.open()
    for job in ladder.jobs():
        ladder.report(run.result(job))
    run.epochs = 3
    again = run.open()
    assert all(lane.done == 0 and not lane.outcome for lane in again.lanes.values())
    for job in again.jobs():
        again.report(run.result(job))
    assert [k for k, lane in again.lanes.items() if lane.outcome == "complete"] == [2, 5]


def test_a_checkpoint_of_an_earlier_choice_is_not_taken_for_one_of_this(tmp_path):
    run = Run(tmp_path)
    ladder = run.open()
    for job in ladder.jobs():
        ladder.report(run.result(job))
        if max(lane.done for lane in ladder.lanes.values()) == 4:
            break
    run.choice = "the second"
    run.open()  # and dies before it has trained an epoch
    again = run.open()
    assert all(lane.done == 0 for lane in again.lanes.values())
    for job in again.jobs():
        assert job is not None  # nobody trains, so there is nothing to wait for
        again.report(run.result(job))
    assert [k for k, lane in again.lanes.items() if lane.outcome == "complete"] == [2, 5]


def test_a_lane_that_fails_stops_alone(tmp_path):
    run = Run(tmp_path)
    ladder = run.open()
    for job in ladder.jobs():
        ladder.report(Stinted(2, job.done, error="nan") if job.number == 2 else run.result(job))
    assert ladder.lanes[2].outcome == "fail"
    assert [k for k, lane in ladder.lanes.items() if lane.outcome == "complete"] == [1, 5]
    assert run.open().lanes[2].outcome == "fail"


def test_a_round_that_has_ended_is_not_the_answer_to_who_asks_again(tmp_path):
    run = Run(tmp_path)
    for lane in run.open().open:
        run.open().report(Stinted(lane.trial.number, 0, error="out of memory"))
    assert all(lane.outcome == "fail" for lane in run.open().lanes.values())
    TuningStudy(run.ledger, "s", QUALITY).close()
    again = run.open()
    for job in again.jobs():
        again.report(run.result(job))
    assert [k for k, lane in again.lanes.items() if lane.outcome == "complete"] == [2, 5]
