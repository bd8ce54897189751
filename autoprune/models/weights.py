"""A model's tensors as a safetensors file. Knows tied tensors (stored once) and buffers that torch does not save."""

from __future__ import annotations

import json
from typing import Final

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor, nn

from autoprune.errors import StorageError, describe
from autoprune.surgery.find import named_tensors

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


def tensors(model: nn.Module) -> dict[str, Tensor]:
    """Every parameter and buffer by name, tied ones once."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in named_tensors(model)}


def to_bytes(model: nn.Module) -> bytes:
    return safetensors.torch.save({name: tensor.clone() for name, tensor in tensors(model).items()})


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
    try:
        stored = safetensors.torch.load(content)
    except (SafetensorError, ValueError) as error:
        raise StorageError(
            expected=f"a whole safetensors file in {source}", received=describe(error), cure="restore the file"
        ) from error
    target = dict(named_tensors(model))
    wrong = [
        name
        for name in target.keys() | stored.keys()
        if name not in target or name not in stored or stored[name].shape != target[name].shape
    ]
    if wrong:
        raise StorageError(
            expected=f"the model's tensors in {source}",
            received=f"{len(wrong)} that differ, such as '{min(wrong)}'",
            cure="load it with the task that it was made from",
        )
    for name, tensor in target.items():
        tensor.data.copy_(stored[name])
