"""Weights with zeros in less room. Knows forms of storage and picks the smallest; not why a weight has zeros.

A packed weight `w` is stored as `w::FORM.values` and what says where they stand: `bitmap`, one bit an element; `csr`, a
column each and where rows end, of the weight as (first dimension, rest); `n:4` (as `1:4` or `2:4`), two bits a value,
n values of each four that follow each other along the inputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
import torch
from torch import Tensor

#: What comes between the name of a weight and the parts that it is stored in.
_MARK: Final = "::"
_FOUR: Final = 4


def pack(name: str, weight: Tensor) -> dict[str, Tensor]:
    """The parts of a weight in its smallest form, by name; the weight itself where nothing is smaller."""
    if weight.dim() < 2 or not weight.is_floating_point() or bool((weight != 0).all()):
        return {name: weight}
    forms = dict(_forms(weight))
    smallest = min(forms, key=lambda form: _bytes(forms[form]))
    if _bytes(forms[smallest]) >= weight.numel() * weight.element_size():
        return {name: weight}
    return {f"{name}{_MARK}{smallest}.{part}": data for part, data in forms[smallest].items()}


def form_of(stored: str) -> tuple[str, str]:
    """The weight's name and the form that a stored part belongs to; "dense" for a weight that is stored whole."""
    name, mark, rest = stored.partition(_MARK)
    return name, rest.rpartition(".")[0] if mark else "dense"


def unpack(stored: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """Whole tensors by name. shapes: of the weights that are packed.

    Raises:
        ValueError: parts are missing, or do not fit the shape.
    """
    whole: dict[str, Tensor] = {}
    parts: dict[tuple[str, str], dict[str, Tensor]] = {}
    for key, data in stored.items():
        name, form = form_of(key)
        if form == "dense":
            whole[name] = data
        else:
            parts.setdefault((name, form), {})[key.rpartition(".")[2]] = data
    for (name, form), found in parts.items():
        if name not in shapes:
            raise ValueError(f"'{name}' is no weight of this model")
        try:
            whole[name] = _unpacked(form, found, shapes[name])
        except (KeyError, RuntimeError, IndexError) as error:
            raise ValueError(f"'{name}' does not fit {list(shapes[name])} as {form}") from error
    return whole


def _forms(weight: Tensor) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Every form that can hold the weight; ties are for the one that comes first."""
    kept = weight != 0
    inputs = _inputs_last(kept)
    if inputs.shape[-1] % _FOUR == 0:
        fours = inputs.reshape(-1, _FOUR)
        most = int(fours.sum(1).max())
        if 0 < most <= 2:
            # among equals the earlier place first, zeros fill up
            order = fours.float().argsort(dim=1, descending=True, stable=True)[:, :most].sort(1).values
            values = _inputs_last(weight).reshape(-1, _FOUR).gather(1, order)
            yield f"{most}:4", {"values": values.flatten(), "places": _bits(order, 2)}
    yield "bitmap", {"values": weight[kept], "where": _bits(kept.flatten()[:, None].long(), 1)}
    rows, columns = kept.flatten(1).nonzero(as_tuple=True)
    width = kept.flatten(1).shape[1]
    narrow = torch.uint8 if width <= 1 << 8 else torch.int16 if width <= 1 << 15 else torch.int32
    ends = torch.bincount(rows, minlength=len(kept)).cumsum(0).int()
    yield "csr", {"values": weight[kept], "columns": columns.to(narrow), "ends": ends}


def _unpacked(form: str, parts: Mapping[str, Tensor], shape: torch.Size) -> Tensor:
    values = parts["values"]
    whole = torch.zeros(shape, dtype=values.dtype)
    if form == "bitmap":
        kept = _unbits(parts["where"], 1, whole.numel()).bool().view(shape)
        if int(kept.sum()) != len(values):
            raise RuntimeError("as many places as values")
        whole[kept] = values
        return whole
    if form == "csr":
        counts = torch.diff(parts["ends"].long(), prepend=torch.zeros(1).long())
        rows = torch.repeat_interleave(torch.arange(shape[0]), counts)
        whole.view(shape[0], -1)[rows, parts["columns"].long()] = values
        return whole
    most = int(form.partition(":")[0])
    order = _unbits(parts["places"], 2, len(values)).view(-1, most)
    inputs = _inputs_last(whole)
    fours = torch.zeros(whole.numel() // _FOUR, _FOUR, dtype=values.dtype).scatter_(1, order, values.view(-1, most))
    return fours.view(inputs.shape).movedim(-1, 1).contiguous()


def _inputs_last(weight: Tensor) -> Tensor:
    return weight.movedim(1, -1)


def _bits(numbers: Tensor, width: int) -> Tensor:
    """Numbers below 2^width, packed into bytes."""
    each = numbers.flatten()[:, None].bitwise_right_shift(torch.arange(width)) & 1
    return torch.from_numpy(np.packbits(each.flatten().numpy().astype(np.uint8), bitorder="little"))


def _unbits(packed: Tensor, width: int, count: int) -> Tensor:
    each = np.unpackbits(packed.numpy(), count=count * width, bitorder="little")
    return (torch.from_numpy(each).long().view(count, width) << torch.arange(width)).sum(1)


def _bytes(parts: Mapping[str, Tensor]) -> int:
    return sum(data.numel() * data.element_size() for data in parts.values())
