"""Weights in a plain safetensors file, and a recipe in JSON: how the dense model is made, and every size that differs.

Nothing in the folder is code. Any program can read the weights; `recipe.json` says what must become of the dense model
before they fit: sizes of tensors, numbers in attributes of modules, layers that are left out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import safetensors.torch
from torch import nn

from autoprune.errors import UsageError
from autoprune.exporters import Subject, Written
from autoprune.exporters._libraries import versions
from autoprune.exporters._varying import dimensions
from autoprune.models.form import Form
from autoprune.models.weights import load_into, stored
from autoprune.surgery.gaps import reopened

PROFILER: Final = "torch"
PRECISIONS: Final = ("float32",)
FROM_DENSE: Final = True
RUNS_CODE: Final = False
_FILE, _RECIPE = "model.safetensors", "recipe.json"
_USAGE: Final = """import safetensors.torch

tensors = safetensors.torch.load_file("model.safetensors")  # by name, of the sizes that recipe.json lists"""


def write(subject: Subject, folder: Path) -> Written:
    dense = _dense(subject)
    form = subject.form
    if form is None:
        raise _unknown(subject, "pass what `prune` returned, or the folder of a finished model")
    tensors = {reopened(name, form.gaps): each.detach().contiguous() for name, each in stored(subject.model).items()}
    content = safetensors.torch.save({name: each.clone() for name, each in tensors.items()}, {"format": "pt"})
    (folder / _FILE).write_bytes(content)
    kind = type(dense)
    recipe = {
        "schema": 1,
        "dense": {"class": f"{kind.__module__}:{kind.__qualname__}", "made_by": subject.made_by},
        "shapes": {name: list(each.shape) for name, each in tensors.items()},
        "form": form.to_json(),
    }
    (folder / _RECIPE).write_text(json.dumps(recipe, indent=1) + "\n", encoding="utf-8")
    return Written(
        file=_FILE,
        usage=_USAGE,
        varies=dimensions(subject.example),
        versions=versions("safetensors", "torch"),
        facts={"recipe": _RECIPE},
    )


def opened(folder: Path, subject: Subject) -> nn.Module:
    dense = _dense(subject)
    form = Form.from_json(json.loads((folder / _RECIPE).read_bytes())["form"])
    model = form.built(dense, str(folder))
    load_into(model, (folder / _FILE).read_bytes(), str(folder))
    form.settle(model, str(folder))
    return model.eval()


def _dense(subject: Subject) -> nn.Module:
    if subject.dense is None:
        raise _unknown(subject, "pass model=dense")
    return subject.dense


def _unknown(subject: Subject, cure: str) -> UsageError:
    return UsageError(
        expected="a pruned model whose dense one is known, which 'safetensors' tells how to make",
        received=subject.name,
        cure=cure,
    )
