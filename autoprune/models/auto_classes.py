"""The Auto classes of transformers, which open folders of the type "autoprune" once they are told. Knows the options of
`from_pretrained` that are obeyed; `own_library` reads the folders."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Final

import torch

from autoprune.errors import UsageError
from autoprune.models.own_library import MODEL_TYPE, class_of, read, refuse
from autoprune.models.weights import DTYPES

#: What an Auto class passes along by itself, or what changes nothing for a folder on this machine.
_NEUTRAL: Final = frozenset({"_from_auto", "adapter_kwargs", "local_files_only", "revision", "trust_remote_code"})
#: What of a configuration is obeyed, or only says where it was read and by what.
_OBEYED: Final = frozenset(
    {"_name_or_path", "attn_implementation", "_attn_implementation", "dtype", "transformers_version"}
)


@functools.cache
def register() -> None:
    """Let the Auto classes of transformers open what is of the type "autoprune"."""
    from transformers import AutoConfig, PreTrainedConfig

    class PrunedConfig(PreTrainedConfig):
        """The configuration of a dense model, and what its pruned one is made of."""

        model_type = MODEL_TYPE

    class PrunedModel:
        """Opens a folder as the class that it was saved from."""

        auto: Any
        config_class = PrunedConfig

        @classmethod
        def from_pretrained(cls, folder: str | Path, *args: Any, config: Any = None, **options: Any) -> Any:
            """The model of a folder; of options, `dtype`, `torch_dtype` and `attn_implementation` are obeyed."""
            path = Path(folder)
            kind, _ = class_of(path)
            if kind not in _opened_by(cls.auto, kind):
                raise UsageError(
                    expected=f"an Auto class that has {kind.__name__}",
                    received=cls.auto.__name__,
                    cure=f"use {' or '.join([*_having(kind), 'autoprune.hf.load'])}",
                )
            dtype = _dtype(options.pop("dtype", None), options.pop("torch_dtype", None))
            own = PrunedConfig.from_pretrained(path).to_dict()
            told = {} if config is None else config.to_dict()
            changed = {name: value for name, value in told.items() if name not in _OBEYED and value != own.get(name)}
            given = {name: value for name, value in options.items() if name not in _NEUTRAL}
            refuse({**given, **changed, **({"positional arguments": args} if args else {})}, "from_pretrained")
            return read(path, dtype, getattr(config, "_attn_implementation", None))

    AutoConfig.register(MODEL_TYPE, PrunedConfig)
    for auto in _autos():
        auto.register(PrunedConfig, type("PrunedModel", (PrunedModel,), {"auto": auto}))


def _autos() -> list[Any]:
    from transformers.models.auto import modeling_auto

    found = (getattr(modeling_auto, name) for name in dir(modeling_auto) if name.startswith("AutoModel"))
    return [auto for auto in found if hasattr(auto, "register")]


def _opened_by(auto: Any, kind: Any) -> tuple[Any, ...]:
    """What an Auto class may open of the configuration that a class has."""
    found = auto._model_mapping.get(kind.config_class, ())
    return tuple(found) if isinstance(found, tuple | list) else (found,)


def _having(kind: Any) -> list[str]:
    return [auto.__name__ for auto in _autos() if kind in _opened_by(auto, kind)]


def _dtype(*told: Any) -> torch.dtype | None:
    """The data type that is asked for by itself or by name; None for that of the file, which "auto" means too."""
    chosen = next((each for each in told if each is not None), "auto")
    if isinstance(chosen, torch.dtype):
        return chosen
    if chosen == "auto":
        return None
    if not isinstance(chosen, str) or chosen not in DTYPES:
        raise UsageError(
            expected="a data type of torch, its name, or 'auto'",
            received=repr(chosen),
            cure="pass for example 'bfloat16'",
        )
    return DTYPES[chosen]
