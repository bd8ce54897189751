"""Low-rank adapters of peft: their ranks after a cut, written where their library looks for them. Knows how its layers
and configurations are laid out; imports none of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn


def holds_adapters(model: nn.Module) -> bool:
    """Whether a library has put adapters into the model, of which the model's own configuration does not tell."""
    return next(_holders(model), None) is not None


def set_ranks(model: nn.Module) -> None:
    """Let configurations and layers tell the ranks that adapters have, in place; where layers differ, layer by layer.

    The factor of an adapter stays as it was trained: the number that it is computed from follows the rank.
    """
    for holder, configs in _holders(model):
        for adapter, config in configs.items():
            ranks: dict[str, int] = {}
            alphas: dict[str, float] = {}
            for name, layer, rank in _layers(holder, adapter):
                root = math.sqrt(rank) if getattr(config, "use_rslora", False) else rank
                ranks[name], alphas[name] = rank, _plain(layer.scaling[adapter] * root)
                layer.r[adapter], layer.lora_alpha[adapter] = rank, alphas[name]
            if ranks and hasattr(config, "rank_pattern"):
                config.r, config.rank_pattern = _shared(ranks)
                config.lora_alpha, config.alpha_pattern = _shared(alphas)


def _holders(model: nn.Module) -> Iterator[tuple[nn.Module, Mapping[str, Any]]]:
    """Modules that keep the configurations of adapters, and these by the adapter's name."""
    for module in model.modules():
        configs = vars(module).get("peft_config")
        if isinstance(configs, Mapping):
            yield module, configs


def _layers(holder: nn.Module, adapter: str) -> Iterator[tuple[str, Any, int]]:
    """Layers with that adapter: name in the model that it was put into, module, and rank."""
    for name, module in holder._modules.get("model", holder).named_modules():  # type: ignore[union-attr]
        for parts in (module._modules.get("lora_A"), module._modules.get("lora_embedding_A")):
            if isinstance(parts, nn.ModuleDict | nn.ParameterDict) and adapter in parts:
                part: Any = parts[adapter]
                yield name, module, len(part if isinstance(part, Tensor) else part.weight)


def _shared(values: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """What most layers have, and by name what the others have."""
    usual = Counter(values.values()).most_common(1)[0][0]
    return usual, {name: value for name, value in values.items() if value != usual}


def _plain(number: float) -> float:
    """A whole number as one."""
    return round(number) if math.isclose(number, round(number)) else number
