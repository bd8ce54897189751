"""A user says which outputs matter: what else is returned need not keep its width."""

import json

import pytest
import torch
from torch import nn

import autoprune
from autoprune.errors import UsageError

IMAGES = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Features(nn.Module):
    """A classifier that returns its features, too; in train mode a loss."""

    def __init__(self, form=tuple):
        super().__init__()
        self.stem, self.body, self.head = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 32, 3), nn.Linear(32, 5)
        self.form = form

    def forward(self, images):
        features = self.body(self.stem(images).relu()).relu()
        logits = self.head(features.mean((2, 3)))
        if self.form is tuple:
            return logits, features
        return {"loss": logits.sum()} if self.training else {"features": features, "logits": logits}


def reason(traced):
    return next(group.frozen_reason for group in traced if group.name == "body")


@pytest.mark.parametrize(
    ("form", "outputs"), [(tuple, 0), (dict, "logits"), (tuple, lambda out: out[0]), (dict, lambda out: out["logits"])]
)
def test_what_does_not_matter_is_cut_through(form, outputs):
    model = Features(form).eval()
    assert reason(autoprune.trace(model, IMAGES)) == "model output"
    assert not reason(autoprune.trace(model, IMAGES, outputs=outputs))
    pruned = autoprune.prune(model, IMAGES, 0.5, outputs=outputs)
    assert pruned.model.body.out_channels == 16
    assert pruned.model.head.out_features == 5


def test_a_model_without_data_and_one_that_was_saved_take_outputs_too(tmp_path):
    model = Features().eval()
    pruned = autoprune.prune(model, IMAGES, 0.5, outputs=0)
    pruned.save(tmp_path)
    again = autoprune.load(tmp_path, model=model)
    assert torch.equal(again(IMAGES)[0], pruned.model(IMAGES)[0])
    plan = json.loads((tmp_path / "plan.json").read_text())
    del plan["form"]  # as an earlier version wrote it
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    again = autoprune.load(tmp_path, model=model, example_inputs=IMAGES, outputs=0)
    assert torch.equal(again(IMAGES)[0], pruned.model(IMAGES)[0])
    with pytest.raises(autoprune.errors.StorageError, match="outputs="):
        autoprune.load(tmp_path, model=model, example_inputs=IMAGES)
    assert not reason(autoprune.trace(Features().to("meta"), IMAGES.to("meta"), outputs=0))


def test_a_task_says_it_for_its_searches():
    labels = torch.arange(80) % 5
    task = autoprune.Classification(Features().eval(), data=(IMAGES.repeat(20, 1, 1, 1), labels))
    pruned = autoprune.prune(task.model, IMAGES, 0.5, task=task, repair="none")
    assert pruned.model.body.out_channels == 16


@pytest.mark.parametrize("outputs", ["logit", 2, lambda out: out.logits, lambda out: "text"])
def test_outputs_that_are_not_there_are_refused(outputs):
    with pytest.raises(UsageError, match="what the model returns"):
        autoprune.trace(Features(dict).eval(), IMAGES, outputs=outputs)


@pytest.mark.parametrize("outputs", [1.5, True, ["logits"]])
def test_outputs_of_another_form_are_refused(outputs):
    with pytest.raises(UsageError, match="outputs as the name of a field"):
        autoprune.trace(Features(dict).eval(), IMAGES, outputs=outputs)
