"""What a model says of batches, kept. Knows which batches it was asked about; not what its answers are for.

All candidates see the same batches in the same epoch, so that a model that is much larger than they are answers each
batch once. Batches are told apart by what is in them. What was seen inside of the model is kept with the answer, and
counts among the bytes that are.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from autoprune.finetuning.distillers import Seen
from autoprune.finetuning.watching import Place, watching
from autoprune.surgery import twin
from autoprune.tasks.batch import digest
from autoprune.tasks.task import Task

#: Bytes of answers that are kept, the latest ones.
_KEPT: Final = 256 << 20


class Answers:
    """Of a copy of a model, in eval mode and without gradients."""

    def __init__(self, task: Task, model: nn.Module) -> None:
        """task: how a batch is run."""
        self._task = task
        self.model = twin(model, meta=False)[0].eval()
        arrange(self.model, torch.channels_last)
        self._known: OrderedDict[bytes, tuple[Seen, int]] = OrderedDict()
        self._bytes = 0

    def seen(self, batch: Any, places: Iterable[Place]) -> Seen:
        """The outputs for a batch, and what passes the places meanwhile; always the same places are asked for."""
        key = digest(batch) if self._task.augment is None else None  # no augmented batch comes twice
        if key is not None and key in self._known:
            self._known.move_to_end(key)
            return self._known[key][0]
        with watching(self.model, places) as at:
            seen = Seen(outputs=self.run(batch), at=at)
        if key is not None:
            self._keep(key, seen)
        return seen

    def run(self, batch: Any) -> Any:
        """The outputs for a batch, afresh."""
        with torch.no_grad():
            return (self._task.teach or self._task.forward)(self.model, batch)

    def _keep(self, key: bytes, seen: Seen) -> None:
        leaves = [*pytree.tree_leaves(seen.outputs), *seen.at.values()]
        if not all(isinstance(leaf, Tensor) or leaf is None for leaf in leaves):
            return  # who knows how large it is
        size = sum(leaf.numel() * leaf.element_size() for leaf in leaves if isinstance(leaf, Tensor))
        self._known[key] = seen, size
        self._bytes += size
        while self._bytes > _KEPT:
            _, (_, gone) = self._known.popitem(last=False)
            self._bytes -= gone


def arrange(model: nn.Module, layout: torch.memory_format) -> None:
    """Channels-last convolutions run and train up to twice as fast on processors; values do not change."""
    for parameter in model.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=layout)
