from dataclasses import replace

import pytest
import torch

from autoprune.finetuning.finetune import RATE
from autoprune.finishing.lane import Lane, Variant, variants
from autoprune.options.training_options import TrainingOptions

ASKED = TrainingOptions(epochs=2)


@pytest.mark.parametrize(
    ("said", "tried"),
    [
        ({}, ["", "rate-x2", "distill-none", "rate-x0.5"]),
        ({"rate": 1e-2}, ["", "distill-none"]),
        ({"distill": "logits:2"}, ["", "rate-x2", "rate-x0.5"]),
        ({"rate": 1e-2, "distill": "none"}, [""]),
    ],
)
def test_nothing_is_tried_in_place_of_what_was_said(small_task, said, tried):
    assert [each.name for each in variants(small_task, replace(ASKED, **said))] == tried


def test_nothing_is_tried_in_place_of_what_the_task_says(small_task):
    own = replace(small_task, optimizer=lambda model: torch.optim.SGD(model.parameters(), 0.1), distance=None)
    assert variants(own, ASKED) == (Variant(),)
    assert variants(replace(small_task, loss=None), replace(ASKED, rate=1e-2)) == (Variant(),)
    assert variants(replace(small_task, train=lambda model, epoch, report: None), ASKED) == (Variant(),)


def test_a_recipe_changes_what_it_names_alone():
    twice = Variant(rate=2.0)
    assert twice.of(replace(ASKED, rate=1e-3)) == replace(ASKED, rate=2e-3)
    assert twice.of(ASKED).rate == 2 * RATE
    assert Variant(distill="none").of(ASKED) == replace(ASKED, distill="none")
    assert Variant().of(ASKED) == ASKED


def test_a_lane_is_read_as_it_was_written():
    for lane in (Lane(3), Lane(3, Variant(rate=0.5, distill="none"))):
        assert Lane.from_json(lane.to_json()) == lane
