"""Patterns, names and options that can match nothing: an error with near names, never silence."""

import json

import pytest
import torch
import yaml
from torch import nn

import autoprune
from autoprune import search_spaces
from autoprune.errors import SurgeryError, TaskError, UsageError

RATIOS = [1.0, 0.875, 0.75, 0.5]
QUICK = {"trials": 3, "finetune_epochs": 0, "finalists": 1, "repair": "none", "criterion": "l1", "sampler": "random"}


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x):
        return x + self.conv2(torch.relu(self.conv1(x)))


@pytest.fixture
def net():
    torch.manual_seed(0)
    model = nn.Sequential()
    model.stem = nn.Conv2d(1, 16, 3, padding=1)
    model.body = Block(16)
    model.last = nn.Conv2d(16, 24, 3)
    model.pool, model.flat, model.head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 3)
    return model.eval(), torch.randn(2, 1, 6, 6)


def test_a_lock_keeps_a_group_whole_and_only_opens_what_it_names(net):
    assert autoprune.prune(*net, 0.5).plan.kept == {"stem": 8, "body.conv1": 8, "last": 12}
    assert autoprune.prune(*net, 0.5, freeze="^stem").plan.kept == {"body.conv1": 8, "last": 12}
    assert autoprune.prune(*net, 0.5, only=["last", "conv1"]).plan.kept == {"body.conv1": 8, "last": 12}
    assert autoprune.prune(*net, 0.5, only="a", freeze=["conv1"]).plan.kept == {"last": 12}
    pruned = autoprune.prune(*net, 0.5, only="last")
    assert pruned.model.stem.out_channels == 16
    assert pruned.model(net[1]).shape == (2, 3)
    assert "not in what only= names" in pruned.summary()


@pytest.mark.parametrize("what", ["freeze", "only"])
def test_a_lock_that_matches_nothing_names_what_is_near(net, what):
    with pytest.raises(UsageError, match=f"{what}= matches.*did you mean 'body.conv1'"):
        autoprune.prune(*net, 0.5, **{what: "body.convl"})
    with pytest.raises(UsageError, match=r"there are 'stem'.*inspect"):
        autoprune.prune(*net, 0.5, **{what: ["last", "zzz"]})


def test_a_layer_that_is_cut_with_another_is_told_by_the_group_it_goes_with(net):
    with pytest.raises(UsageError, match="such tensors are cut with 'stem'"):
        autoprune.prune(*net, 0.5, freeze=r"body\.conv2")


def test_only_what_can_be_cut_may_be_named_alone(net):
    with pytest.raises(UsageError, match="'head', which stays whole: model output"):
        autoprune.prune(*net, 0.5, only=["last", "head"])
    with pytest.raises(UsageError, match="'body', which stays whole: it is of kind layer"):
        autoprune.prune(*net, 0.5, only="^body$")
    assert autoprune.prune(*net, {"body": 0}, only="^body$").plan.kept == {"body": 0}


@pytest.mark.parametrize("what", ["freeze", "only"])
@pytest.mark.parametrize("wrong", ["(", ["stem", 3], 3, {"stem": 1}, b"stem"])
def test_what_is_no_pattern_is_refused(net, what, wrong):
    with pytest.raises(UsageError, match=f"regular expressions on names of groups for {what}"):
        autoprune.prune(*net, 0.5, **{what: wrong})
    with pytest.raises(UsageError, match=f"regular expressions on names of groups for {what}"):
        autoprune.search("digits", **{what: wrong})


def test_a_plan_may_not_name_what_is_locked(net):
    with pytest.raises(UsageError, match="kept whole by freeze='stem'"):
        autoprune.prune(*net, {"stem": 8}, freeze="stem")


def test_everything_locked_says_so(net):
    with pytest.raises(SurgeryError, match="kept whole by freeze"):
        autoprune.prune(*net, 0.5, freeze="")


def test_groups_that_are_tied_to_what_is_named_go_with_it():
    class Split(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 16), nn.Linear(4, 16), nn.Linear(32, 3)

        def forward(self, x):
            both = torch.cat([self.a(x), self.b(x)], 1)
            left, right = both[:, : self.a.out_features], both[:, self.a.out_features :]
            return self.c(torch.cat([left * 2, right], 1))

    groups = {group.name: group.tie for group in autoprune.trace(Split().eval(), torch.randn(2, 4)).open}
    pruned = autoprune.prune(Split().eval(), torch.randn(2, 4), 0.5, only="^a$")
    expected = {name for name, tie in groups.items() if name == "a" or (tie and tie == groups["a"])}
    assert pruned.plan.kept.keys() == expected


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("frozen: ['c0nv']", "frozen of the search space 'own' matches"),
        ("frozen: ['1']\ntied: ['^neurons ']", "tied of the search space 'own' matches"),
        ("step: {head: 8}", "a step of kinds that the search space 'own' opens.*received head"),
        ("floor: {head: 8}", "a floor of kinds"),
        ("pattern: '2:4'", "kinds with weight"),
    ],
)
def test_a_search_space_of_ones_own_may_say_nothing_without_effect(small_task, tmp_path, more, message):
    (tmp_path / "own.yaml").write_text(f"kinds: [channel, neuron]\nkeep_ratios: [1.0, 0.5]\n{more}\n")
    with pytest.raises(UsageError, match=message):
        autoprune.search(small_task, "params=60%", space="own.yaml", run="r", **QUICK)
    assert not (tmp_path / "r").exists()


def test_a_search_space_is_an_object_that_a_run_remembers(small_task, tmp_path):
    space = autoprune.SpaceConfig(kinds=["channel"], keep_ratios=RATIOS, step={"channel": 2}, name="mine")
    autoprune.search(small_task, "params=95%", space=space, freeze="conv2", run="r", **QUICK)
    recipe = yaml.safe_load((tmp_path / "r" / "run.yaml").read_text())
    assert recipe["search_space"]["family"] == "mine"
    assert recipe["search_space"]["levels"].keys() == {"conv1"}
    assert recipe["freeze"] == ["conv2"]
    assert search_spaces.choose(recipe["space"], []) == space
    assert autoprune.resume("r", task=small_task, trials=4).document["best"] is not None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kinds": ["channel"]}, "kinds, keep_ratios"),
        ({"kinds": ["channel"], "keep_ratios": [1.0, 0.5], "freeze": []}, "at most the keys"),
        ({"kinds": ["channel"], "keep_ratio": [1.0]}, "did you mean 'keep_ratios'. write for example kinds: "),
        (3, "a search space by name, a YAML file, or an autoprune.SpaceConfig"),
        ("cnnn", "did you mean 'cnn'"),
    ],
)
def test_other_search_spaces_are_refused(small_task, given, message):
    with pytest.raises(UsageError, match=message):
        autoprune.search(small_task, "params=60%", space=given, run="r", **QUICK)


@pytest.mark.parametrize(
    ("key", "value"), [("kinds", ["chanel"]), ("kinds", "channel"), ("keep_ratios", []), ("keep_ratios", [100, 50]), ("frozen", ["("]), ("frozen", "stem"), ("step", 0)]
)  # fmt: skip
def test_values_of_a_search_space_are_checked_when_it_is_made(key, value):
    usual = {"kinds": ["channel"], "keep_ratios": [1.0]}
    with pytest.raises(UsageError, match=f"write for example {key}: ") as refused:
        autoprune.SpaceConfig(**{**usual, key: value})
    example = yaml.safe_load(str(refused.value).rpartition("write for example ")[2])
    assert getattr(autoprune.SpaceConfig(**usual | {"kinds": ["channel", "neuron"]} | example), key)


TASK = """
import autoprune, torch
from torch import nn

def task():
    net = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 24), nn.ReLU(), nn.Linear(24, 3)).eval()
    data = (torch.randn(60, 4), torch.arange(60) % 3)
    return autoprune.Classification(net, data=data, example_inputs=(torch.randn(2, 4),))
"""


def test_the_command_line_takes_locks(told, tmp_path):
    (tmp_path / "task.py").write_text(TASK)
    code, out, _ = told("inspect", "task.py:task", "--freeze", "^0", "--only", "0", "--only", "2")
    assert (code, "kept whole by freeze='^0'" in out, "not in what only= names" in out) == (2, False, False)
    code, out, _ = told("inspect", "task.py:task", "--only", "^2$", "--space", "vision_transformer")
    assert (code, "not in what only= names" in out) == (0, True)
    code, _, err = told("search", "task.py:task", "--freeze", "22", "--budget", "params=50%")
    assert (code, "did you mean '2'" in err) == (2, True)
    code, out, _ = told("search", "task.py:task", "--freeze", "^2", "--budget", "params=90%", "--dry-run", "--json")
    found = json.loads(out)
    assert (code, found["freeze"], list(found["search_space"]["levels"])) == (0, ["^2"], ["0"])


def batches():
    return [(torch.randn(4, 4), torch.zeros(4, dtype=torch.int64))]


@pytest.mark.parametrize("loaded", [False, True])
def test_a_split_that_nobody_reads_is_named(loaded):
    """A misspelt train split would be fine-tuned on the calibration split."""
    splits = {name: batches() for name in ("training", "calibration", "search", "validation", "test")}
    with pytest.raises(TaskError, match="'training'; call it 'train'"):
        made = autoprune.Task(
            "splits",
            nn.Linear(4, 3),
            torch.randn(2, 4),
            (lambda: splits) if loaded else splits,
            lambda model, split: 0.5,
        )
        list(made.split("train"))
