"""How many floating-point operations an operator takes: torch's table, and what it lacks. Knows shapes only."""

from __future__ import annotations

from collections.abc import Callable
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


_LACKING: Final[dict[Any, Callable[..., int]]] = {
    _aten._scaled_dot_product_flash_attention_for_cpu: flop_registry[_aten._scaled_dot_product_flash_attention],
    _aten.mkldnn_rnn_layer: _mkldnn,
    _aten._cudnn_rnn: _cudnn,
}
