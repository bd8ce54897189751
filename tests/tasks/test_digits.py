import platformdirs
import pytest
import torch

from autoprune import registry
from autoprune.calibration.ranking import rank
from autoprune.core.reporter import Silent
from autoprune.search_spaces import choose
from autoprune.search_spaces.space import SearchSpace
from autoprune.surgery import apply, kept_slices, trace
from autoprune.tasks.builtin import digits
from autoprune.testing.fakes import RecordingReporter


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda name: str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_no_digit_is_in_two_splits():
    plain = {name: part for name, part in digits.data(0).items() if name == "train"}
    assert len(plain["train"][0]) == 600
    assert sum(digits.COUNTS.values()) == 1797
    assert {name: len(part[0]) for name, part in digits.data(0).items()} == {
        "train": 600, "calibration": 3 * 147, "search": 3 * 350, "validation": 3 * 350, "test": 3 * 350,
    }  # fmt: skip


def test_data_and_training_follow_the_seed():
    recipe = digits.Recipe(widths=(8, 8, 8), blocks=1, epochs=1)
    weights = []
    for _ in range(2):
        model = digits.ResNet(recipe.widths, recipe.blocks)
        digits.train(model, digits.data(recipe.seed)["train"], recipe, Silent())
        weights.append(model.state_dict())
        torch.rand(3)
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.slow
def test_the_task_discriminates_and_is_trained_once(own_cache):
    reporter = RecordingReporter()
    task = digits.task(reporter)
    assert reporter.steps["training digits"] > 0
    dense = task.score(task.model, "test")["accuracy"].value
    assert dense >= 0.97
    again = RecordingReporter()
    assert digits.task(again).score(task.model, "test")["accuracy"].value == dense
    assert again.steps == {}
    traced = trace(task.model, task.example_inputs)
    ranking = rank(registry.load("criteria", "l2"), task.model, traced).scores
    space = SearchSpace.build(traced.groups, choose("cnn", []))
    quarter = apply(task.model, traced, kept_slices(traced, ranking, space.uniform(0.375)))
    assert task.score(quarter, "test")["accuracy"].value <= dense - 0.05


@pytest.mark.slow
def test_a_damaged_cache_is_trained_again(own_cache):
    digits.task(Silent())
    (file,) = own_cache.iterdir()
    file.write_bytes(file.read_bytes()[:-9])
    reporter = RecordingReporter()
    digits.task(reporter)
    assert "damaged" in reporter.warnings[0]
