"""Limits on qualities of any range: what is read, what is refused, and cures that are accepted when they are followed."""

import dataclasses
import math
import re

import pytest
import torch
from torch import nn

import autoprune
from autoprune.core.metric import Metric
from autoprune.errors import TaskError, UsageError

QUICK = {"trials": 3, "finetune_epochs": 0, "finalists": 1, "repair": "none", "criterion": "l1", "sampler": "random"}
METRICS = (
    Metric("bleu", "1", lower_is_better=False),
    Metric("psnr", "1", lower_is_better=False, high=100.0),
    Metric("mAP50", "1", lower_is_better=False),
    Metric("accuracy", "1", lower_is_better=False, high=1.0),
    Metric("r2", "1", lower_is_better=False, low=-float("inf"), high=1.0),
    Metric("likelihood", "1", lower_is_better=False, low=-float("inf")),
    Metric("loss", "1", lower_is_better=True),
    Metric("error", "1", lower_is_better=True, high=1.0),
    Metric("nll", "1", lower_is_better=True, low=-float("inf")),
)
DENSE = {
    "bleu": 31.0, "psnr": 28.0, "mAP50": 0.6, "accuracy": 0.9, "r2": 0.8, "likelihood": -90.0, "loss": 1.5, "error": 0.1,
    "nll": -2.0,
}  # fmt: skip


def task(scores=DENSE):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3)).eval()
    data = [(torch.randn(4, 4), torch.zeros(4))]
    whole = sum(parameter.numel() for parameter in net.parameters())

    def evaluate(model, split):
        cut = 1 - sum(parameter.numel() for parameter in model.parameters()) / whole
        return {m.name: scores[m.name] + (cut if m.lower_is_better else -cut) / 10 for m in METRICS}

    splits = dict.fromkeys(("train", "calibration", "search", "validation", "test"), data)
    return autoprune.Task("floors", net, (torch.randn(2, 4),), splits, evaluate, metrics=METRICS)


def meaning(limit):
    """What a search says of a limit; UsageError where it refuses it."""
    from autoprune.core.measurement import Capabilities
    from autoprune.engine.prepare import objectives_of

    made = task()
    budget = autoprune.Budget.parse(limit).read_for(made.metrics)
    objectives_of(budget, made, Capabilities(metrics=("latency",), format="torch"), "torch")
    again = autoprune.Budget.parse(*map(str, budget.limits)).read_for(made.metrics)
    assert again == budget, "a run reads it as it was"
    return budget.limits[0].meaning(), budget.limits[0].bound(DENSE[budget.limits[0].metric])


@pytest.mark.parametrize(
    ("limit", "said", "bound"),
    [
        ("psnr>=99%", "psnr at least 99 % of the dense model's", 27.72),
        ("mAP50>=99%", "mAP50 at least 99 % of the dense model's", 0.594),
        ("bleu>=98.5%", "bleu at least 98.5 % of the dense model's", 30.535),
        ("bleu>=-0.5", "bleu at most 0.5 below the dense model's", 30.5),
        ("bleu>=dense-0.5", "bleu at most 0.5 below the dense model's", 30.5),
        ("accuracy>=-1%", "accuracy at most 1 points below the dense model's", 0.89),
        ("accuracy>=-0.01", "accuracy at most 0.01 below the dense model's", 0.89),
        ("accuracy>=99%", "accuracy at least 99 % of the dense model's", 0.891),
        ("accuracy>=0.8", "accuracy at least 0.8", 0.8),
        ("r2>=-1%", "r2 at most 1 points below the dense model's", 0.79),
        ("r2>=-0.01", "r2 at least -0.01", -0.01),
        ("r2>=dense-0.01", "r2 at most 0.01 below the dense model's", 0.79),
        ("likelihood>=-95", "likelihood at least -95", -95.0),
        ("likelihood>=dense-5", "likelihood at most 5 below the dense model's", -95.0),
        ("loss<=105%", "loss at most 105 % of the dense model's", 1.575),
        ("loss<=+0.1", "loss at most 0.1 above the dense model's", 1.6),
        ("loss<=1.6", "loss at most 1.6", 1.6),
        ("error<=+1%", "error at most 1 points above the dense model's", 0.11),
        ("nll<=-1.9", "nll at most -1.9", -1.9),
        ("nll<=+0.1", "nll at most 0.1 above the dense model's", -1.9),
    ],
)
def test_a_floor_is_read_and_said(limit, said, bound):
    found, at = meaning(limit)
    assert found == said
    assert at == pytest.approx(bound)


WRONG = [
    "bleu>=-1%", "psnr>=-1%", "mAP50>=-1%", "likelihood>=-2%", "accuracy>=97", "accuracy>=-1", "accuracy>=-3",
    "accuracy>=+0.97", "accuracy>=1%", "accuracy>=-100%", "accuracy<=-1%", "accuracy<=99%", "psnr>=120", "psnr>=-200",
    "bleu<=30", "bleu=30", "psnr>=30dB", "mAP50<=0.5", "loss>=0.1", "loss>=-1%", "loss<=-1%", "loss<=-0.1", "loss<=+1%",
    "error<=5", "error<=+5", "error>=99%", "nll<=+1%", "nll>=-2", "r2>=3", "loss<=0%",
]  # fmt: skip


@pytest.mark.parametrize("limit", WRONG)
def test_each_cure_that_is_printed_is_accepted_when_it_is_followed(limit):
    with pytest.raises(UsageError) as refused:
        meaning(limit)
    followed = re.findall(r"([A-Za-z0-9]+)((?:<=|>=)[^\s,;]+)( where (?:more|less))?", refused.value.cure)
    assert followed, refused.value.cure
    less = {metric.name: metric.lower_is_better for metric in METRICS}
    for name, rest, condition in followed:
        if not condition or condition.endswith("less") == less[name]:
            assert meaning(name + rest)


def test_a_range_that_was_not_declared_is_named():
    with pytest.raises(UsageError, match=r"mAP50>=99% or mAP50>=dense-0\.1; or.*Metric\('mAP50', \.\.\., high=1\.0\)"):
        meaning("mAP50>=-1%")


def test_a_floor_that_every_score_keeps_is_told(tmp_path, hurried, caplog):
    with caplog.at_level("WARNING", logger="autoprune"):
        result = autoprune.search(task(), ["params=80%", "mAP50>=-0.7", "psnr>=99.9%", "loss<=+0.04"], run="r", **QUICK)
    assert "mAP50>=dense-0.7 limits nothing: the dense model has 0.6" in caplog.text
    assert result.document["budget"] == ["params<=80%", "mAP50>=dense-0.7", "psnr>=99.9%", "loss<=dense+0.04"]
    for point in result.front:
        loss = point.measurements["loss"].value
        assert point.feasible == (point.measurements["params"].value <= 0.8 * 131 and loss <= 1.54)


@pytest.mark.parametrize(
    ("name", "less", "range_", "score", "declared"),
    [
        ("accuracy", False, {"high": 1.0}, 97.0, "Metric('accuracy', '1', lower_is_better=False, low=0, high=100)"),
        ("mcc", False, {}, -0.1, "Metric('mcc', '1', lower_is_better=False, low=-math.inf)"),
        ("r2", False, {"high": 1.0}, -3.0, "Metric('r2', '1', lower_is_better=False, low=-math.inf, high=1)"),
        ("psnr", False, {"high": 1.0}, 320.0, "Metric('psnr', '1', lower_is_better=False, low=0)"),
        ("nll", True, {}, -2.0, "Metric('nll', '1', lower_is_better=True, low=-math.inf)"),
    ],
)
def test_a_score_beyond_its_range_is_answered_with_the_range_that_takes_it(name, less, range_, score, declared):
    given = dataclasses.replace(
        task(), metrics=(Metric(name, "1", lower_is_better=less, **range_),), evaluate=lambda model, split: score
    )
    with pytest.raises(TaskError, match="declare its range among the task's metrics") as refused:
        given.score(given.model, "search")
    assert declared in refused.value.cure
    followed = eval(declared, {"Metric": Metric, "math": math})  # noqa: S307 - the cure, as printed
    again = dataclasses.replace(given, metrics=(followed,))
    assert again.score(again.model, "search")[name].value == score
    assert ("return a share, 0.97" in refused.value.cure) == (name == "accuracy")
