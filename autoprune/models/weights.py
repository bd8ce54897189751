"""A model's tensors as a safetensors file. Knows tied tensors, which are stored once, and that zeros can be packed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from autoprune.errors import StorageError, describe
from autoprune.models.packing import form_of, pack, unpack

#: How safetensors writes data types, for the size of its header.
_DTYPES: Final = {
    "torch.float32": "F32",
    "torch.float16": "F16",
    "torch.bfloat16": "BF16",
    "torch.float64": "F64",
    "torch.int64": "I64",
    "torch.int32": "I32",
    "torch.int16": "I16",
    "torch.int8": "I8",
    "torch.uint8": "U8",
    "torch.bool": "BOOL",
}
#: Data types by the names that files and their readers have for them.
DTYPES: Final = {
    str(each).removeprefix("torch."): each for each in vars(torch).values() if isinstance(each, torch.dtype)
}


def stored(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, tied ones once.

    What torch would not save, and sparse and quantised tensors, come from the constructor.
    """
    saved = model.state_dict().keys()
    named = (*model.named_parameters(), *((name, buffer) for name, buffer in model.named_buffers() if name in saved))
    return {name: tensor for name, tensor in named if tensor.layout is torch.strided and not tensor.is_quantized}


def tensors(model: nn.Module, rename: Callable[[str], str] = str) -> dict[str, Tensor]:
    """What is stored of a model, on the processor, weights with zeros in their smallest form. rename: the name that a
    tensor is stored under."""
    parts: dict[str, Tensor] = {}
    for name, tensor in stored(model).items():
        parts.update(pack(rename(name), tensor.detach().cpu().contiguous()))
    return parts


def forms(model: nn.Module) -> Counter[str]:
    """How many weights are stored in each form that is not dense."""
    found = {form_of(part) for part in tensors(model)}
    return Counter(form for _, form in found if form != "dense")


def to_bytes(model: nn.Module, rename: Callable[[str], str] = str) -> bytes:
    return safetensors.torch.save({name: tensor.clone() for name, tensor in tensors(model, rename).items()})


def file_size(model: nn.Module) -> int:
    """The length of `to_bytes`, without making it: 8 bytes, a JSON header padded to 8, and the data."""
    header, offset = {}, 0
    ordered = sorted(tensors(model).items(), key=lambda item: (-item[1].element_size(), item[0]))
    for name, tensor in ordered:
        length = tensor.numel() * tensor.element_size()
        code = _DTYPES.get(str(tensor.dtype), str(tensor.dtype))
        header[name] = {"dtype": code, "shape": list(tensor.shape), "data_offsets": [offset, offset + length]}
        offset += length
    written = len(json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode())
    return 8 + (written + 7) // 8 * 8 + offset


def load_into(model: nn.Module, content: bytes, source: str) -> None:
    """Fill the model from a file's content, in place.

    Raises:
        StorageError: the content is no safetensors file, or its tensors are not the model's.
    """
    fill(model, loaded(content, shapes_of(model), source), source)


def shapes_of(model: nn.Module) -> dict[str, torch.Size]:
    """Of what is stored of a model."""
    return {name: tensor.shape for name, tensor in stored(model).items()}


def loaded(content: bytes, shapes: Mapping[str, torch.Size], source: str) -> dict[str, Tensor]:
    """The whole tensors of a file's content. shapes: of those that may be packed.

    Raises:
        StorageError: it is no safetensors file, or something in it does not fit.
    """
    try:
        return unpack(safetensors.torch.load(content), shapes)
    except (SafetensorError, ValueError) as error:
        raise StorageError(
            expected=f"a whole safetensors file in {source}", received=describe(error), cure="restore the file"
        ) from error


def fill(model: nn.Module, found: Mapping[str, Tensor], source: str) -> None:
    """Fill the model from tensors, in place.

    Raises:
        StorageError: they are not the model's.
    """
    target = stored(model)
    wrong = [
        name
        for name in target.keys() | found.keys()
        if name not in target or name not in found or found[name].shape != target[name].shape
    ]
    if wrong:
        raise StorageError(
            expected=f"the model's tensors in {source}",
            received=f"{len(wrong)} that differ, such as '{min(wrong)}'",
            cure="load it with the model that it was made from",
        )
    for name, tensor in target.items():
        tensor.data.copy_(found[name])
