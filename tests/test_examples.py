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


def test_the_loop_of_ones_own_ends_with_the_function_of_its_smaller_model(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setattr(loop := importlib.import_module("own_loop"), "EPOCHS", 3)
    thinned, pruned = loop.train()
    _, (images, labels) = loop.data()
    assert torch.allclose(pruned.model.eval()(images), thinned.eval()(images), atol=1e-4)
    assert loop.accuracy(pruned.model, images, labels) > 0.9
    assert pruned.after["params"].value < 0.4 * pruned.before["params"].value


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
