"""The usual forms of a batch. Knows where inputs and labels are in them, and on which device; not what they mean."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from autoprune.errors import TaskError

#: Keys and fields that hold the labels of a batch.
LABELS: Final = ("labels", "label", "targets", "target")


def forward(model: nn.Module, batch: Any) -> Any:
    """Run a batch: a mapping as keywords without `labels`, of a tuple the first entry, anything else as it is."""
    if isinstance(batch, Mapping):
        return model(**{key: value for key, value in batch.items() if key != "labels"})
    return model(batch[0] if isinstance(batch, tuple | list) else batch)


def inputs_of(batch: Any) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """All that a batch has besides its labels.

    Args:
        batch: A mapping or a named tuple gives keywords. Of a pair (inputs, labels) the inputs may be a tensor, a tuple
            of arguments or a mapping; of a longer tuple all entries but the last are arguments.

    Returns:
        Arguments and keywords for a model.
    """
    named = _named(batch)
    if named is None and isinstance(batch, tuple | list):
        inputs = batch[0] if len(batch) <= 2 else tuple(batch[:-1])
        if isinstance(inputs, tuple | list):
            return tuple(inputs), {}
        if not isinstance(inputs, Mapping):
            return (inputs,), {}
        named = inputs
    if named is None:
        return (batch,), {}
    return (), {key: value for key, value in named.items() if key not in LABELS}


def classify(model: nn.Module, batch: Any) -> Any:
    """Run a classifier on all that a batch has besides its labels; see `inputs_of`."""
    args, kwargs = inputs_of(batch)
    return model(*args, **kwargs)


def labels_of(batch: Any) -> Tensor:
    """The labels of a batch: under one of `LABELS`, or the last entry of a tuple or list.

    Raises:
        TaskError: there are none.
    """
    named = _named(batch)
    if named is not None:
        found = next((named[key] for key in LABELS if key in named), None)
    else:
        found = batch[-1] if isinstance(batch, tuple | list) and len(batch) > 1 else None
    if not isinstance(found, Tensor):
        keys = f" with {', '.join(map(str, named))}" if named is not None else ""
        raise TaskError(
            expected=f"batches with a tensor of labels: (inputs, labels), or a mapping with '{LABELS[0]}'",
            received=f"{type(batch).__name__}{keys}",
            cure="have the loader give one of these, or write a Task with a forward, a loss and an evaluate of its own",
        )
    return found


def moved(batch: Any, device: torch.device) -> Any:
    """The batch with its tensors on a device; what is there already is not copied."""

    def to(leaf: Any) -> Any:
        if isinstance(leaf, Tensor):
            return leaf.to(device)
        # Encodings of tokenizers and graphs move themselves.
        return leaf.to(device) if callable(getattr(leaf, "to", None)) else leaf

    if device.type == "cpu" and all(not isinstance(each, Tensor) or each.is_cpu for each in pytree.tree_leaves(batch)):
        return batch
    return pytree.tree_map(to, batch)


def digest(batch: Any) -> bytes | None:
    """A hash of all that a batch holds; None where it holds more than tensors, numbers and text."""
    leaves, spec = pytree.tree_flatten(batch)
    found = hashlib.sha256(str(spec).encode())
    for leaf in leaves:
        if isinstance(leaf, Tensor):
            if leaf.layout != torch.strided or leaf.is_quantized:
                return None
            found.update(f"{leaf.dtype} {tuple(leaf.shape)}".encode())
            found.update(leaf.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        elif isinstance(leaf, str | int | float | bool | None):
            found.update(f"{type(leaf).__name__} {leaf!r}".encode())
        else:
            return None
    return found.digest()


def device_of(model: nn.Module) -> torch.device:
    """Where a model's first parameter is; the processor where it has none."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def _named(batch: Any) -> Mapping[str, Any] | None:
    """A batch of named parts as a mapping; None of any other, and of a pair whose entries happen to have names."""
    if isinstance(batch, Mapping):
        return batch
    fields = getattr(batch, "_fields", ()) if isinstance(batch, tuple) else ()
    return (
        dict(zip(fields, batch, strict=True)) if len(fields) > 2 and any(field in LABELS for field in fields) else None
    )
