"""The dense model as a teacher. Knows which batches it was asked about; not what its answers are for.

All candidates see the same batches in the same epoch, so that a teacher that is much larger than they are answers each
batch once. Batches are told apart by what is in them.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from autoprune.surgery import twin
from autoprune.tasks.task import Task

#: Bytes of answers that are kept, the latest ones.
_KEPT: Final = 256 << 20


class Teacher:
    """Answers of a task's dense model, in eval mode and without gradients."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._model = twin(task.model, meta=False)[0].eval()
        arrange(self._model, torch.channels_last)
        self._known: OrderedDict[bytes, tuple[Any, int]] = OrderedDict()
        self._bytes = 0

    @classmethod
    def of(cls, task: Task) -> Teacher | None:
        """None where the task does not say how outputs are compared."""
        return None if task.loss is None or task.distance is None or task.train is not None else cls(task)

    def answer(self, batch: Any) -> Any:
        """The dense model's outputs for a batch."""
        key = _digest(batch)
        if key is not None and key in self._known:
            self._known.move_to_end(key)
            return self._known[key][0]
        with torch.no_grad():
            outputs = (self._task.teach or self._task.forward)(self._model, batch)
        if key is not None:
            self._keep(key, outputs)
        return outputs

    def _keep(self, key: bytes, outputs: Any) -> None:
        leaves = pytree.tree_leaves(outputs)
        if not all(isinstance(leaf, Tensor) or leaf is None for leaf in leaves):
            return  # who knows how large it is
        size = sum(leaf.numel() * leaf.element_size() for leaf in leaves if isinstance(leaf, Tensor))
        self._known[key] = outputs, size
        self._bytes += size
        while self._bytes > _KEPT:
            _, (_, gone) = self._known.popitem(last=False)
            self._bytes -= gone


def arrange(model: nn.Module, layout: torch.memory_format) -> None:
    """Channels-last convolutions run and train up to twice as fast on processors; values do not change."""
    for parameter in model.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=layout)


def _digest(batch: Any) -> bytes | None:
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
