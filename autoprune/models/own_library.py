"""Pruned models of transformers as folders that transformers opens. Knows which a configuration can say, and the class
that says the others; imports transformers when it is asked for.

Where the class builds the very tensors from the model's configuration, the folder is one of transformers alone. Where
it does not (layers of different widths, heads made thinner), `config.json` is of the type "autoprune": it has the dense
configuration and the model's form, and `import autoprune.hf` registers who reads that. No code lies in the folder.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any, Final

import safetensors.torch
import torch
from torch import Tensor, nn

from autoprune.errors import StorageError, UsageError, describe
from autoprune.models.config_sizes import made_empty, made_of, shapes_of
from autoprune.models.configuration import pretrained
from autoprune.models.form import Form
from autoprune.models.weights import load_into, stored
from autoprune.surgery.apply import like
from autoprune.surgery.clone import clone
from autoprune.surgery.gaps import reopened

#: What `config.json` calls a model that no configuration of transformers can say.
MODEL_TYPE: Final = "autoprune"
CONFIG, _WEIGHTS = "config.json", "model.safetensors"


def write(model: Any, form: Form | None, dense: Any, folder: Path) -> bool:
    """Write a model into a folder; whether transformers opens it without help.

    Args:
        model: Of a class of transformers, pruned.
        form: What rebuilds it; None where nobody knows.
        dense: The configuration of the dense model, as a dict; None where nobody knows.
        folder: That is there.

    Raises:
        UsageError: no model of transformers, or one that only its form could say, which is not known.
    """
    if "" not in pretrained(model):
        raise UsageError(
            expected="a model of transformers, with a configuration of its own",
            received=type(model).__name__,
            cure="choose another format, such as safetensors",
        )
    if shapes_of(made_of(model, model.config.to_dict())) == shapes_of(model):
        model.save_pretrained(folder)
        return True
    if form is None or dense is None:
        raise UsageError(
            expected="sizes that the configuration can say, or what `autoprune.prune` returned",
            received=f"a {type(model).__name__} whose configuration is that of the dense model",
            cure="pass what `prune` returned, or prune with space='hf'",
        )
    content = {
        "model_type": MODEL_TYPE,
        "architectures": [type(model).__name__],
        "dense": dense,
        "form": form.to_json(),
    }
    (folder / CONFIG).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    tensors = {reopened(name, form.gaps): each.detach().clone() for name, each in stored(model).items()}
    safetensors.torch.save_file(tensors, folder / _WEIGHTS, {"format": "pt"})
    if getattr(model, "generation_config", None) is not None:
        model.generation_config.save_pretrained(folder)
    return False


def read(folder: Path) -> Any:
    """The model of a folder, in eval mode, of the class that it was saved from.

    Raises:
        StorageError: a file is missing or damaged, or its class is none of transformers.
    """
    import transformers

    try:
        content = json.loads((folder / CONFIG).read_bytes())
        kind = getattr(transformers, content["architectures"][0])
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise StorageError(
            expected=f"{CONFIG} of a model of transformers in {folder}",
            received=describe(error),
            cure="give the folder that `autoprune export --format transformers` wrote",
        ) from error
    if content.get("model_type") != MODEL_TYPE:
        return kind.from_pretrained(folder).eval()
    try:
        form = Form.from_json(content["form"])
        dense = made_empty(kind, kind.config_class.from_dict(content["dense"]))
        weights = (folder / _WEIGHTS).read_bytes()
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise StorageError(
            expected=f"the form of a pruned model in {folder / CONFIG}",
            received=describe(error),
            cure="restore the folder from a copy",
        ) from error
    model: Any = clone(form.built(dense, str(folder)), _with_data)
    load_into(model, weights, str(folder))
    form.settle(model, str(folder))
    if (folder / "generation_config.json").is_file():
        model.generation_config = transformers.GenerationConfig.from_pretrained(folder)
    return model.eval()


def _with_data(tensor: Tensor) -> Tensor:
    return like(tensor, torch.empty_like(tensor, device="cpu")) if tensor.is_meta else tensor


@functools.cache
def register() -> None:
    """Let the Auto classes of transformers open what is of the type "autoprune"."""
    from transformers import AutoConfig, PreTrainedConfig
    from transformers.models.auto import modeling_auto

    class PrunedConfig(PreTrainedConfig):
        """The configuration of a dense model, and what its pruned one is made of."""

        model_type = MODEL_TYPE

    class PrunedModel(nn.Module):
        """Opens a folder as the class that it was saved from."""

        config_class = PrunedConfig

        @classmethod
        def from_pretrained(cls, folder: str | Path, *args: Any, dtype: Any = None, **options: Any) -> Any:
            """The model of a folder; of options, `dtype` is obeyed."""
            del args, options
            model = read(Path(folder))
            return model.to(dtype) if isinstance(dtype, torch.dtype) else model

    AutoConfig.register(MODEL_TYPE, PrunedConfig)
    for name in dir(modeling_auto):
        auto = getattr(modeling_auto, name)
        if name.startswith("AutoModel") and hasattr(auto, "register"):
            auto.register(PrunedConfig, PrunedModel)
