"""How many floating-point operations an operator takes: torch's table, and what it lacks. Knows shapes only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils.flop_counter import flop_registry

_aten = torch.ops.aten


def formula(func: Any) -> Callable[..., int] | None:
    """What tells the operations of one call from its arguments and `out_val`; None where it does none that count."""
    found: Callable[..., int] | None = _LACKING.get(func.overloadpacket) or flop_registry.get(func.overloadpacket)
    return found


def _recurrent(inputs: Tensor, weights: list[Tensor]) -> int:
    """Each position of inputs (..., features) is multiplied with every matrix."""
    return 2 * (inputs.numel() // inputs.shape[-1]) * sum(weight.numel() for weight in weights if weight.dim() == 2)


def _mkldnn(inputs: Tensor, *args: Any, **_: Any) -> int:
    return _recurrent(inputs, list(args[:4]))


def _cudnn(inputs: Tensor, weights: list[Tensor], *_: Any, **__: Any) -> int:
    return _recurrent(inputs, weights)


def expanded(dims: Sequence[Any], places: Sequence[int], one: Any) -> list[Any]:
    """Dimensions (sizes, or what stands for them) with `one` put in at the places."""
    found = list(dims)
    for place in sorted(places):
        found.insert(place, one)
    return found


def _trilinear(first: Tensor, second: Tensor, third: Tensor, *places: list[int], **_: Any) -> int:
    """Two products and a sum for each place of what the three make when they are expanded."""
    shapes = [expanded(t.shape, put, 1) for t, put in zip((first, second, third), places, strict=False)]
    places_of_all: int = torch.broadcast_shapes(*shapes).numel()
    return 3 * places_of_all


def _distances(first: Tensor, *_: Any, out_val: Tensor, **__: Any) -> int:
    """A difference, its power and a sum for each feature of each pair."""
    return 3 * out_val.numel() * first.shape[-1]


_LACKING: Final[dict[Any, Callable[..., int]]] = {
    _aten._scaled_dot_product_flash_attention_for_cpu: flop_registry[_aten._scaled_dot_product_flash_attention],
    _aten.mkldnn_rnn_layer: _mkldnn,
    _aten._cudnn_rnn: _cudnn,
    _aten._trilinear: _trilinear,
    _aten._cdist_forward: _distances,
}
