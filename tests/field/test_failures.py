"""Searches in which everything fails of one cause."""

import dataclasses
import itertools

import pytest

import autoprune
from autoprune.cli.print_result import print_result
from autoprune.errors import TaskError

QUICK = {"budget": "params=90%", "run": "r", "trials": 4, "sampler": "random", "finetune_lr": 1e-3, "finalists": 2}


def test_fine_tuning_that_always_fails_is_said_at_the_end(small_task, capsys):
    calls = itertools.count()

    def raising(output, batch):
        if next(calls) > 1:  # what is tried before the search
            raise RuntimeError("no gradient for you")
        return output.sum()

    result = autoprune.search(dataclasses.replace(small_task, loss=raising), finetune_epochs=1, **QUICK)
    assert result.best is not None
    with pytest.raises(TaskError, match=r"no gradient for you.*autoprune finetune r") as told:
        print_result(result, as_json=False)
    assert told.value.exit_code == 4
    assert "load it" in capsys.readouterr().out
    with pytest.raises(TaskError, match="no gradient"):
        print_result(autoprune.resume("r", task=small_task), as_json=True)
    mended = autoprune.finetune("r", task=small_task, finetune_epochs=1)
    assert print_result(mended, as_json=True) == 0


def test_finishing_that_always_fails_names_its_cause_and_no_budget(small_task):
    def fails(model, split):
        if split is small_task.split("validation").given and model is not small_task.model:
            raise ZeroDivisionError("not on these")
        return small_task.evaluate(model, split)

    result = autoprune.search(dataclasses.replace(small_task, evaluate=fails), finetune_epochs=0, **QUICK)
    assert result.best is None
    with pytest.raises(TaskError, match="not on these"):
        print_result(result, as_json=True)


def test_candidates_that_all_fail_are_an_error_that_names_the_cause(small_task):
    def fails(model, split):
        if model is not small_task.model:
            raise ZeroDivisionError("cut models are too small")
        return small_task.evaluate(model, split)

    with pytest.raises(TaskError, match="cut models are too small"):
        autoprune.search(dataclasses.replace(small_task, evaluate=fails), finetune_epochs=0, **QUICK)
