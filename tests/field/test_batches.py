"""Batches in the forms that loaders give, and scores that classifiers are judged by."""

from collections import namedtuple

import numpy as np
import pytest
import torch
from sklearn import metrics
from torch import nn
from torch.utils.data import DataLoader, Dataset

import autoprune
from autoprune.errors import TaskError, UsageError
from autoprune.tasks.arrays import divide
from autoprune.tasks.scores import SCORES
from autoprune.tasks.task import SPLITS
from tests.field.models import mlp, points


class Texts(nn.Module):
    """Token ids and a mask (N, 6), as keywords or in this order, to logits (N, 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.body, self.head = nn.Embedding(20, 16), nn.Linear(16, 32), nn.Linear(32, 3)

    def forward(self, input_ids, attention_mask):
        hidden = self.body(self.embed(input_ids)).relu() * attention_mask[..., None]
        return self.head(hidden.sum(1))


class Samples(Dataset):
    """Samples as a tokenizer and a collator give them, in one of the usual forms."""

    def __init__(self, form):
        generator = torch.Generator().manual_seed(0)
        self.ids = torch.randint(0, 20, (64, 6), generator=generator)
        self.form = form

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, place):
        ids = self.ids[place]
        return FORMS[self.form](ids, torch.ones(6), ids[0] % 3)


Named = namedtuple("Named", "input_ids attention_mask labels")
FORMS = {
    "labels": lambda ids, mask, label: {"input_ids": ids, "attention_mask": mask, "labels": label},
    "label": lambda ids, mask, label: {"input_ids": ids, "attention_mask": mask, "label": label},
    "nested mapping": lambda ids, mask, label: ({"input_ids": ids, "attention_mask": mask}, label),
    "nested pair": lambda ids, mask, label: ((ids, mask), label),
    "flat": lambda ids, mask, label: (ids, mask, label),
    "named": Named,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_usual_form_of_a_batch_is_searched_and_trained(form):
    torch.manual_seed(0)
    loader = DataLoader(Samples(form), 16)
    task = autoprune.Classification(Texts(), splits=dict.fromkeys(("train", *SPLITS), loader))
    result = autoprune.search(task, budget="params=60%", trials=3, finetune_epochs=1, finalists=1, run="r")
    assert result.best is not None
    assert result.best.measurements["accuracy"].n == 64


ARRAYS = {
    "tuple": lambda ids, mask: (ids, mask),
    "mapping": lambda ids, mask: {"input_ids": ids.numpy(), "attention_mask": mask.numpy()},
}


@pytest.mark.parametrize("form", ARRAYS)
def test_data_may_be_arrays_of_several_inputs(form):
    ids, mask = Samples("flat").ids, torch.ones(64, 6, dtype=torch.float64)
    mask[:, 0] = torch.arange(64)
    data = ARRAYS[form](ids, mask), torch.arange(64) % 3
    task = autoprune.Classification(Texts(), data=data, batch_size=8)
    assert len(task.example_inputs) == 2
    inputs, labels = next(iter(task.split("train")))
    ids_seen, mask_seen = inputs.values() if form == "mapping" else inputs
    assert torch.equal(mask_seen[:, 0].long() % 3, labels)
    assert torch.equal(ids_seen, ids[mask_seen[:, 0].long()])
    assert mask_seen.dtype == torch.float32
    whole = autoprune.Classification(Texts(), splits=dict.fromkeys(SPLITS, data))
    assert whole.score(whole.model, "test")["accuracy"].n == 64


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ((torch.zeros(64, 6), torch.zeros(63, 6)), r"shapes \[64, 6\] and \[63, 6\] and \[64\]"),
        ((), "equal, positive length"),
        ({"input_ids": ["a", "b"]}, "several inputs as a tuple or a mapping of arrays"),
        ([torch.zeros(64, 6), torch.zeros(64, 6)], "several inputs as a tuple or a mapping of arrays"),
    ],
)
def test_arrays_of_several_inputs_that_are_none_are_refused(inputs, message):
    with pytest.raises(TaskError, match=message):
        autoprune.Classification(Texts(), data=(inputs, torch.zeros(64)))


def test_encodings_of_a_tokenizer_are_mappings():
    encoding = pytest.importorskip("transformers").BatchEncoding
    batch = encoding({"input_ids": torch.ones(4, 6, dtype=torch.long), "attention_mask": torch.ones(4, 6)})
    batch["labels"] = torch.zeros(4, dtype=torch.long)
    task = autoprune.Classification(Texts(), splits=dict.fromkeys(SPLITS, [batch]))
    assert task.score(task.model, "test")["accuracy"].n == 4


@pytest.mark.parametrize("batch", [{"input_ids": torch.zeros(2, 6), "mask": torch.ones(2)}, torch.zeros(2, 8), [torch.zeros(2, 8)]])  # fmt: skip
def test_batches_without_labels_are_named(batch):
    task = autoprune.Classification(mlp(), splits=dict.fromkeys(SPLITS, [batch]), example_inputs=(torch.zeros(1, 8),))
    with pytest.raises(TaskError, match="label|unexpected keyword"):
        task.score(task.model, "test")


@pytest.mark.parametrize("name", SCORES)
def test_scores_are_those_of_scikit_learn(name):
    generator = torch.Generator().manual_seed(1)
    logits, labels = torch.randn(300, 8, generator=generator), torch.randint(0, 7, (300,), generator=generator)
    logits[torch.arange(300), labels] += 1.5
    found, said = SCORES[name](logits, labels), logits.argmax(-1)
    oracle = {
        "accuracy": lambda: metrics.accuracy_score(labels, said),
        "balanced_accuracy": lambda: metrics.balanced_accuracy_score(labels, said),
        "f1": lambda: metrics.f1_score(labels, said, average="macro"),
        "top5": lambda: metrics.top_k_accuracy_score(labels, logits, k=5, labels=range(8)),
    }
    assert found.value == pytest.approx(oracle[name]())
    assert found.low < found.value < found.high


@pytest.mark.parametrize("name", ["f1", "balanced_accuracy"])
def test_resampled_intervals_hold_the_truth(name):
    rng = np.random.default_rng(0)

    def drawn(count):
        labels = torch.tensor(rng.integers(0, 4, count))
        said = torch.where(torch.tensor(rng.random(count) < 0.7), labels, torch.tensor(rng.integers(0, 4, count)))
        return nn.functional.one_hot(said, 4).float(), labels

    truth = SCORES[name](*drawn(200_000)).value
    held = [found.low <= truth <= found.high for found in (SCORES[name](*drawn(150)) for _ in range(100))]
    assert np.mean(held) > 0.85


def test_a_search_may_be_for_another_score_by_name_or_by_a_function():
    def kappa(logits, labels):
        return metrics.cohen_kappa_score(labels, logits.argmax(-1))

    for metric, name in (("f1", "f1"), (kappa, "kappa")):
        task = autoprune.Classification(mlp(), data=points(), example_inputs=(torch.zeros(2, 8),), metric=metric)
        assert task.quality.name == name
        assert set(task.score(task.model, "search")) == {name, "loss"}
    with pytest.raises(UsageError, match="did you mean 'accuracy'"):
        autoprune.Classification(mlp(), data=points(), metric="acuracy")


def test_rare_classes_are_in_every_split():
    labels = torch.zeros(600, dtype=torch.long)
    labels[:24] = 1
    parts = divide(torch.arange(600), labels, 0, stratify=True)
    together = torch.cat([inputs for inputs, _ in parts.values()])
    assert torch.equal(together.sort().values, torch.arange(600))
    rare = {name: int(part.sum()) for name, (_, part) in parts.items()}
    assert all(abs(count - 24 * len(parts[name][1]) / 600) <= 1 for name, count in rare.items())
    assert not torch.equal(parts["test"][1], parts["test"][1].sort().values)


def test_a_score_without_a_name_can_be_limited_and_one_name_is_one_metric():
    def loss(logits, labels):
        return 0.5

    task = autoprune.Classification(mlp(), data=points(), metric=lambda logits, labels: 0.5)
    assert task.quality.name == "score"
    with pytest.raises(TaskError, match="two called 'loss'"):
        autoprune.Classification(mlp(), data=points(), metric=loss)


@pytest.mark.parametrize("size", [0, -1, 1.5, True])
def test_batches_of_no_size_are_refused(size):
    with pytest.raises(TaskError, match="batch_size of at least 1"):
        autoprune.Classification(mlp(), data=points(), batch_size=size)
