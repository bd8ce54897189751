"""The worked examples: untrained where that is enough, and searched for real in the slow ones."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import autoprune
from autoprune.core.reporter import Silent
from autoprune.tasks.locate import locate

EXAMPLES = Path(__file__).parent.parent / "examples"
NAMES = ("vit", "bert", "llama", "lstm", "unet", "ctc", "biencoder", "two_outputs", "detector")
#: What needs transformers.
PRETRAINED = ("vit", "bert", "llama")


@pytest.fixture
def untrained(monkeypatch):
    """Models as they are initialised: cutting does not ask what they learnt."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setattr(importlib.import_module("training"), "train", lambda *arguments, **options: None)
    yield
    for name in (*NAMES, "source_code", "scenes", "training", "levenshtein"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_cut_scored_and_smaller(name, untrained):
    if name in PRETRAINED:
        pytest.importorskip("transformers")
    task = locate(f"{EXAMPLES / name}.py:task", Silent())
    pruned = autoprune.prune(task.model, task.example_inputs, 0.5)
    assert task.score(pruned.model, "calibration")
    assert pruned.after["params"].value < 0.6 * pruned.before["params"].value


@pytest.fixture
def example(monkeypatch):
    """A script of the examples, imported anew."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    before = {*sys.modules}
    yield importlib.import_module
    for name in {*sys.modules} - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "").parent == EXAMPLES:
            del sys.modules[name]


def test_the_loop_of_ones_own_ends_with_the_function_of_its_smaller_model(example, monkeypatch):
    monkeypatch.setattr(loop := example("own_loop"), "EPOCHS", 3)
    thinned, pruned = loop.train()
    _, (images, labels) = loop.data()
    assert torch.allclose(pruned.model.eval()(images), thinned.eval()(images), atol=1e-4)
    assert loop.accuracy(pruned.model, images, labels) > 0.9
    assert pruned.after["params"].value < 0.4 * pruned.before["params"].value


def test_few_weights_from_the_beginning_are_trained_in_places_that_change(example, monkeypatch):
    monkeypatch.setattr(script := example("sparse_training"), "EPOCHS", 4)
    pruned, ever = script.train()
    kept = autoprune.masks(pruned.model)
    assert sum(int(each.sum()) for each in kept.values()) == pytest.approx(
        0.1 * sum(map(torch.numel, kept.values())), abs=5
    )
    assert all(int(ever[name].sum()) > int(mask.sum()) for name, mask in kept.items() if not mask.all())
    assert script.accuracy(pruned.model, *script.data()[1]) > 0.8


def test_a_lottery_ticket_and_its_rival_have_the_same_places(example, monkeypatch):
    monkeypatch.setattr(script := example("lottery_ticket"), "EPOCHS", 2)
    ticket, other = script.tickets()
    kept = autoprune.masks(ticket)
    assert all(torch.equal(mask, kept[name]) for name, mask in autoprune.masks(other).items())
    assert script.accuracy(ticket, *script.data()[1]) > 0.5


@pytest.mark.slow
def test_the_trainer_of_transformers_ends_with_a_smaller_model(example, monkeypatch, tmp_path):
    pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    monkeypatch.setattr(script := example("hf_trainer"), "STEPS", 12)
    thinned, pruned = script.train(folder=str(tmp_path))
    images, _ = script.data()[1]
    assert pruned.notes == ()
    assert pruned.model.config.intermediate_size == 96
    assert pruned.after["params"].value < 0.8 * pruned.before["params"].value
    with torch.no_grad():
        assert torch.allclose(pruned.model.eval()(images).logits, thinned.eval()(images).logits, atol=1e-4)


def test_the_trainer_of_lightning_ends_with_a_smaller_model(example, monkeypatch):
    pytest.importorskip("lightning")
    monkeypatch.setattr(script := example("lightning_trainer"), "EPOCHS", 2)
    thinned, pruned = script.train()
    images, _ = script.data()[1]
    assert pruned.after["params"].value < 0.4 * pruned.before["params"].value
    with torch.no_grad():
        assert torch.allclose(pruned.model.eval()(images), thinned.eval()(images), atol=1e-4)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["vit", "bert", "unet", "ctc", "biencoder", "two_outputs", "detector"])
def test_an_example_is_searched_and_ends_with_a_feasible_front(name, tmp_path):
    if name in PRETRAINED:
        pytest.importorskip("transformers")
    command = [sys.executable, "-m", "autoprune", "search", f"{EXAMPLES / name}.py:task", "--budget", "latency=60%"]
    done = subprocess.run(
        [*command, "--run", "run"], cwd=tmp_path, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr
    front = json.loads((tmp_path / "run" / "front.json").read_text())
    assert next(point for point in front["front"] if point["trial"] == front["best"])["feasible"]
