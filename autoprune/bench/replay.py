"""One ATen operator from its JSON, as a module that runs it. Knows torch's own operators only."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.errors import DeviceError
from autoprune.surgery.example import Example

_CONSTANTS = (torch.contiguous_format, torch.channels_last, torch.preserve_format, torch.strided)

#: What an operator that comes from elsewhere must not do: open files.
_FILES = ("from_file",)


class Replay(nn.Module):
    """Calls one operator with fixed arguments, as `measure.units.aten` wrote them down."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        call = json.loads(content)
        namespace, _, rest = str(call["op"]).partition(".")
        packet, _, overload = rest.partition(".")
        if namespace != "aten" or packet in _FILES or not hasattr(torch.ops.aten, packet):
            raise DeviceError(expected="an operator of torch", received=repr(call["op"]), cure="measure whole models")
        self._op = getattr(getattr(torch.ops.aten, packet), overload or "default")
        self._args = [_read(each) for each in call["args"]]
        self._kwargs = {key: _read(each) for key, each in call["kwargs"].items()}

    def forward(self, _unused: Tensor) -> Any:
        return self._op(*self._args, **self._kwargs)


def replay(content: bytes) -> tuple[nn.Module, Example]:
    """The operator, and the arguments of one call of it."""
    return Replay(content), Example.of(torch.zeros(1))


def _read(value: Any) -> Any:
    if isinstance(value, list):
        return [_read(each) for each in value]
    if isinstance(value, dict) and "tensor" in value:
        return _tensor(getattr(torch, value["tensor"]), value["size"], value["stride"])
    if isinstance(value, dict) and "torch" in value:
        return _constant(value["torch"])
    return value


def _tensor(dtype: torch.dtype, size: list[int], stride: list[int]) -> Tensor:
    """Ordinary numbers; of whole numbers zeros, which any table can look up."""
    length = 1 + sum((count - 1) * step for count, step in zip(size, stride, strict=True)) if all(size) else 0
    flat = torch.zeros(max(length, 0), dtype=dtype)
    return (flat.normal_() if dtype.is_floating_point else flat).as_strided(size, stride)


def _constant(name: str) -> Any:
    known = {str(each): each for each in _CONSTANTS}
    if name in known:
        return known[name]
    found = getattr(torch, name.removeprefix("torch."), None)
    return found if isinstance(found, torch.dtype) else torch.device("cpu")
