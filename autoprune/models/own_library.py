"""Pruned models of transformers as folders that transformers opens. Knows which a configuration can say, and the class
that says the others; imports transformers when it is asked for.

Where the class builds the very tensors from the model's configuration, the folder is one of transformers alone. Where
it does not (layers of different widths, heads made thinner), `config.json` is of the type "autoprune": it has the dense
configuration and the model's form, and `import autoprune.hf` registers who reads that. No code lies in the folder.
A model that was opened so has a `save_pretrained` that writes such a folder again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MethodType
from typing import Any, Final

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

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
    _write(model, form, dense, folder)
    return False


def _write(model: Any, form: Form, dense: Mapping[str, Any], folder: Path) -> None:
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


def class_of(folder: Path) -> tuple[Any, dict[str, Any]]:
    """The class of transformers that a folder was saved from, and what its `config.json` says.

    Raises:
        StorageError: the file is missing or damaged, or its class is none of transformers.
    """
    try:
        content = json.loads((folder / CONFIG).read_bytes())
        kind = _class(content["architectures"][0])
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise StorageError(
            expected=f"{CONFIG} of a model of transformers in {folder}",
            received=describe(error),
            cure="give the folder that `autoprune export --format transformers` wrote",
        ) from error
    return kind, content


def _class(name: str) -> Any:
    import transformers

    found = getattr(transformers, name)
    if not (isinstance(found, type) and issubclass(found, transformers.PreTrainedModel)):
        raise TypeError(f"'{name}' is no model")
    return found


def read(folder: Path, dtype: torch.dtype | None = None, attention: str | None = None) -> Any:
    """The model of a folder, in eval mode, of the class that it was saved from.

    Args:
        folder: That was written.
        dtype: Of its weights; None for what the file has.
        attention: Which implementation of attention; None for the usual one.

    Raises:
        StorageError: a file is missing or damaged, or its class is none of transformers.
    """
    import transformers

    kind, content = class_of(folder)
    chosen = {} if attention is None else {"attn_implementation": attention}
    if content.get("model_type") != MODEL_TYPE:
        return kind.from_pretrained(folder, dtype=dtype or "auto", **chosen).eval()
    try:
        form = Form.from_json(content["form"])
        dense = made_empty(kind, kind.config_class.from_dict(content["dense"], **chosen))
        weights = (folder / _WEIGHTS).read_bytes()
        types = {name: each.dtype for name, each in safetensors.torch.load(weights).items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, SafetensorError) as error:
        raise StorageError(
            expected=f"the form of a pruned model in {folder / CONFIG}",
            received=describe(error),
            cure="restore the folder from a copy",
        ) from error
    model: Any = clone(form.built(dense, str(folder)), _with_data)
    for name, tensor in stored(model).items():
        own = types.get(name, tensor.dtype)
        tensor.data = tensor.data.to(dtype if dtype is not None and own.is_floating_point else own)
    load_into(model, weights, str(folder))
    form.settle(model, str(folder))
    model.config.dtype = model.dtype
    if (folder / "generation_config.json").is_file():
        model.generation_config = transformers.GenerationConfig.from_pretrained(folder)
    model.pruned_from = (form, content["dense"])
    model.save_pretrained = MethodType(save_pretrained, model)
    return model.eval()


def save_pretrained(model: Any, save_directory: str | Path, **options: Any) -> None:
    """What an opened model has in the place of its class's, which knows only the dense configuration.

    Raises:
        UsageError: an option, or a model that was cut again.
    """
    form, dense = model.pruned_from
    refuse(options, "save_pretrained")
    wanted = shapes_of(form.built(made_empty(type(model), type(model.config).from_dict(dense)), "this model"))
    if any(wanted.get(reopened(name, form.gaps)) != each.shape for name, each in stored(model).items()):
        raise UsageError(
            expected="the model as it was opened",
            received="one of other sizes",
            cure="save what `prune` returned with `autoprune.save`",
        )
    folder = Path(save_directory)
    folder.mkdir(parents=True, exist_ok=True)
    _write(model, form, dense, folder)


def refuse(options: Mapping[str, Any], call: str) -> None:
    """Raises UsageError where any option is given: what is not obeyed is not dropped in silence."""
    given = sorted(name for name, value in options.items() if value is not None and value is not False)
    if given:
        raise UsageError(
            expected=f"an option that `{call}` of a pruned model obeys",
            received=", ".join(given),
            cure="leave it out, and do it to the model that is returned",
        )


def _with_data(tensor: Tensor) -> Tensor:
    return like(tensor, torch.empty_like(tensor, device="cpu")) if tensor.is_meta else tensor
