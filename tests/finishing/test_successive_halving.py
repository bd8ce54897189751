from dataclasses import replace

import pytest
from optuna.storages import InMemoryStorage

from autoprune.core.measurement import Measurement
from autoprune.finetuning import checkpoint
from autoprune.finishing.halving import HalvingRule
from autoprune.finishing.lane import Lane, Variant
from autoprune.finishing.successive_halving import SuccessiveHalving
from autoprune.finishing.tuner import EpochResult
from autoprune.finishing.tuning_study import Bracket, TuningStudy
from autoprune.store.ledger import Ledger
from tests.searching.trials import QUALITY, trial

CANDIDATES = [trial(k, 0.5, 100 * k) for k in range(6)]
BINS = {Lane(k): k // 3 for k in range(6)}


class Run:
    """A halving in a run directory that can be opened again; every epoch is written down."""

    def __init__(self, folder, epochs=6):
        self.folder, self.epochs, self.ledger, self.trained = folder, epochs, Ledger(InMemoryStorage()), []
        self.choice, self.most, self.bins, self.rule = "the first", 1000, BINS, HalvingRule

    def open(self):
        study = TuningStudy(self.ledger, "s", QUALITY)
        study.chosen(f"{self.choice}, {self.epochs} epochs", lambda: Bracket(bins=self.bins, epochs=self.epochs))
        file_of = lambda lane: self.folder / f"{lane.name}.safetensors"  # noqa: E731
        return SuccessiveHalving(
            CANDIDATES, self.rule(self.epochs, self.bins), quality=QUALITY, study=study, file_of=file_of,
            told=lambda told: self.trained.append((told.lane, told.done)), worth=lambda trial, quality: (quality,),
            late=lambda: len(self.trained) >= self.most,
        )  # fmt: skip

    def result(self, job):
        import safetensors.numpy as safetensors

        scores = {"accuracy": Measurement.exact("accuracy", 0.5 + job.lane.candidate / 100 + job.done / 1000, "1")}
        state = safetensors.save({}, checkpoint.metadata(job.done + 1, self.epochs, scores))
        return EpochResult(job.lane, job.done + 1, scores, state)


def test_one_of_each_bin_is_trained_to_the_end(tmp_path):
    run = Run(tmp_path)
    halving = run.open()
    for job in halving.jobs():
        halving.report(run.result(job))
    assert {k.candidate: (run.outcome, run.done) for k, run in halving.runs.items()} == {
        0: ("pruned", 2), 1: ("pruned", 2), 2: ("complete", 6), 3: ("pruned", 2), 4: ("pruned", 2), 5: ("complete", 6),
    }  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2.safetensors", "5.safetensors"]


def test_halving_with_one_rung_still_leaves_one_of_each_bin(tmp_path):
    run = Run(tmp_path, epochs=1)
    halving = run.open()
    for job in halving.jobs():
        halving.report(run.result(job))
    assert [k.candidate for k, run in halving.runs.items() if run.outcome == "complete"] == [2, 5]
    assert {run.done for run in halving.runs.values()} == {1}


def test_only_epochs_that_decide_something_are_scored(tmp_path):
    bins = {Lane(0): 0, Lane(1): 0, Lane(2): 1}
    study = TuningStudy(Ledger(InMemoryStorage()), "s", QUALITY)
    study.chosen("once", lambda: Bracket(bins=bins, epochs=6))
    told = []
    halving = SuccessiveHalving(
        CANDIDATES[:3], HalvingRule(6, bins), quality=QUALITY, study=study, file_of=lambda lane: tmp_path / f"{lane.name}.safetensors",
        told=told.append, worth=lambda trial, quality: (quality,),
    )  # fmt: skip
    run = Run(tmp_path)
    for job in halving.jobs():
        found = run.result(job)
        halving.report(found if found.done in (*job.compared, 6) else replace(found, scores={}, loss=0.5))
    assert {lane.candidate: run.outcome for lane, run in halving.runs.items()} == {
        0: "pruned",
        1: "complete",
        2: "complete",
    }
    assert {(each.lane.candidate, each.done) for each in told if each.scores} == {(0, 2), (1, 2), (1, 6), (2, 6)}
    assert all(each.loss == 0.5 for each in told if not each.scores)


def test_what_there_is_no_time_for_is_left_as_it_is(tmp_path):
    run = Run(tmp_path)
    run.most = 10
    halving = run.open()
    for job in halving.jobs():
        halving.report(run.result(job))
    assert len(run.trained) == 10
    assert not halving.open
    assert {k.candidate: (run.outcome, run.done) for k, run in halving.runs.items()} == {
        0: ("pruned", 2), 1: ("pruned", 2), 2: ("complete", 6), 3: ("stopped", 0), 4: ("stopped", 0), 5: ("stopped", 0),
    }  # fmt: skip


@pytest.mark.parametrize("deaths", [(1,), (3, 4), (2, 5, 9, 13)])
def test_halving_that_dies_goes_on_from_the_last_epoch_of_each_run(tmp_path, deaths):
    whole = Run(tmp_path / "whole")
    halving = whole.open()
    for job in halving.jobs():
        halving.report(whole.result(job))
    run = Run(tmp_path / "killed")
    for death in (*deaths, None):
        halving = run.open()
        for job in halving.jobs():
            if death is not None and len(run.trained) >= death:
                break
            halving.report(run.result(job))
    assert len(run.trained) == len(set(run.trained))
    assert sorted(run.trained) == sorted(whole.trained)
    assert {k.candidate: run.outcome for k, run in halving.runs.items()} == {k: "complete" if k in (2, 5) else "pruned" for k in range(6)}  # fmt: skip


def test_untold_checkpoint_is_told_and_not_trained_again(tmp_path):
    run = Run(tmp_path)
    halving = run.open()
    job = next(halving.jobs())
    (tmp_path / f"{job.lane.name}.safetensors").write_bytes(run.result(job).state)
    again = run.open()
    assert again.runs[job.lane].done == 1
    assert next(each for each in again.jobs() if each.lane == job.lane).done == 1


def test_a_run_whose_checkpoint_is_gone_begins_anew(tmp_path):
    run = Run(tmp_path)
    halving = run.open()
    job = next(halving.jobs())
    halving.report(run.result(job))
    (tmp_path / f"{job.lane.name}.safetensors").write_bytes(b"half of")
    assert run.open().runs[job.lane].done == 0


def test_runs_that_had_only_begun_are_no_failures(tmp_path):
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
    halving = run.open()
    for job in halving.jobs():
        halving.report(run.result(job))
    run.epochs = 3
    again = run.open()
    assert all(run.done == 0 and not run.outcome for run in again.runs.values())
    for job in again.jobs():
        again.report(run.result(job))
    assert [k.candidate for k, run in again.runs.items() if run.outcome == "complete"] == [2, 5]


def test_a_checkpoint_of_an_earlier_choice_is_not_taken_for_one_of_this(tmp_path):
    run = Run(tmp_path)
    halving = run.open()
    for job in halving.jobs():
        halving.report(run.result(job))
        if max(run.done for run in halving.runs.values()) == 4:
            break
    run.choice = "the second"
    run.open()  # and dies before it has trained an epoch
    again = run.open()
    assert all(run.done == 0 for run in again.runs.values())
    for job in again.jobs():
        assert job is not None  # nobody trains, so there is nothing to wait for
        again.report(run.result(job))
    assert [k.candidate for k, run in again.runs.items() if run.outcome == "complete"] == [2, 5]


def test_a_run_that_fails_stops_alone(tmp_path):
    run = Run(tmp_path)
    halving = run.open()
    for job in halving.jobs():
        halving.report(EpochResult(job.lane, job.done, error="nan") if job.lane == Lane(2) else run.result(job))
    assert halving.runs[Lane(2)].outcome == "fail"
    assert [k.candidate for k, run in halving.runs.items() if run.outcome == "complete"] == [1, 5]
    assert run.open().runs[Lane(2)].outcome == "fail"


def test_a_round_that_has_ended_is_not_the_answer_to_who_asks_again(tmp_path):
    run = Run(tmp_path)
    for each in run.open().open:
        run.open().report(EpochResult(each.lane, 0, error="out of memory"))
    assert all(each.outcome == "fail" for each in run.open().runs.values())
    TuningStudy(run.ledger, "s", QUALITY).close()
    again = run.open()
    for job in again.jobs():
        again.report(run.result(job))
    assert [k.candidate for k, run in again.runs.items() if run.outcome == "complete"] == [2, 5]


def test_what_was_left_when_time_was_up_is_left_so_by_a_later_process(tmp_path):
    run = Run(tmp_path)
    run.most = 4
    halving = run.open()
    for job in halving.jobs():
        halving.report(run.result(job))
    stopped = {k for k, each in halving.runs.items() if each.outcome == "stopped"}
    assert stopped
    again = run.open()
    assert {k for k, each in again.runs.items() if each.outcome == "stopped"} == stopped
    assert any(again.runs[k].scores for k in stopped)


def test_why_fine_tuning_failed_is_known_to_a_later_process(tmp_path):
    run = Run(tmp_path)
    halving = run.open()
    job = next(halving.jobs())
    halving.report(EpochResult(job.lane, 0, error="no gradient for you"))
    assert run.open().runs[job.lane].error == "no gradient for you"


def test_a_run_that_ends_early_is_compared_at_each_rung_as_it_is_and_so_when_it_is_resumed(tmp_path):
    run = Run(tmp_path)
    halving, over = run.open(), {Lane(1), Lane(2)}

    def result(job):
        found = run.result(job)
        return replace(found, done=6) if job.lane in over else found

    jobs = halving.jobs()
    halving.report(result(next(jobs)))
    for _ in range(3):
        halving.report(result(next(jobs)))
    again = run.open()
    for job in again.jobs():
        again.report(result(job))
    assert {k.candidate: (each.outcome, each.done) for k, each in again.runs.items()} == {
        0: ("pruned", 2), 1: ("pruned", 6), 2: ("complete", 6), 3: ("pruned", 2), 4: ("pruned", 2), 5: ("complete", 6),
    }  # fmt: skip
    assert sum(lane in over for lane, _ in run.trained) == 2


def test_recipes_of_a_candidate_are_rivals_and_go_on_after_a_death(tmp_path):
    run = Run(tmp_path)
    twice = Variant(rate=2.0)
    run.bins = {Lane(k, each): k // 2 for k in range(4) for each in (Variant(), twice)}
    better = lambda lane: lane.candidate + (0.5 if lane.variant == twice else 0)  # noqa: E731
    run.result = lambda job: replace(
        Run.result(run, job),
        scores={"accuracy": Measurement.exact("accuracy", 0.5 + better(job.lane) / 100 + job.done / 1000, "1")},
    )
    for death in (3, 11, None):
        halving = run.open()
        for job in halving.jobs():
            if death is not None and len(run.trained) >= death:
                break
            halving.report(run.result(job))
    assert len(run.trained) == len(set(run.trained))
    assert [lane for lane, each in halving.runs.items() if each.outcome == "complete"] == [
        Lane(1, twice),
        Lane(3, twice),
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1-rate-x2.safetensors", "3-rate-x2.safetensors"]


def test_where_no_recipe_has_made_good_yet_the_one_that_came_nearest_goes_on(tmp_path):
    run = Run(tmp_path)
    run.bins = {Lane(0, each): 0 for each in (Variant(), Variant(rate=2.0), Variant(rate=0.5))}
    run.result = lambda job: replace(
        Run.result(run, job),
        scores={"accuracy": Measurement.exact("accuracy", 0.1 * job.lane.variant.rate, "1")},  # repaired: 0.5
    )
    halving = run.open()
    for job in halving.jobs():
        halving.report(run.result(job))
    assert [each.variant.rate for each, run in halving.runs.items() if run.outcome == "complete"] == [2.0]
