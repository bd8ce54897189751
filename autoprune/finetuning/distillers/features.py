"""What leaves a few convolutions and linear layers, compared at the channels that were kept (Romero et al. 2015).

No regressor is needed between the two widths: surgery knows which of the teacher's channels each of the student's was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from autoprune.finetuning.distillers import Distiller, DistillerContext, Layer, Seen, both, evenly
from autoprune.finetuning.watching import Place

NEEDS: Final = "convolutions or linear layers that run once for a batch"
#: Layers that are compared.
_LAYERS: Final = 4
#: Of a layer that hardly varies.
_LEAST: Final = 1e-8


@dataclass(frozen=True)
class _Features:
    layers: tuple[Layer, ...]

    @property
    def places(self) -> Sequence[Place]:
        return [layer.place for layer in self.layers]

    def __call__(self, student: Seen, teacher: Seen) -> Tensor | None:
        terms = []
        for layer, own, dense in both(self.layers, student, teacher):
            kept = student.kept.get(layer.name)
            wanted = dense if kept is None else dense.index_select(layer.channels, kept)
            if own.shape == wanted.shape:
                spread = wanted.var(unbiased=False).clamp(min=_LEAST)
                terms.append((own - wanted).square().mean() / spread)
        return torch.stack(terms).mean() if terms else None


def create(context: DistillerContext) -> Distiller:
    """The mean, over layers evenly over depth, of the squared difference in shares of the teacher's variance."""
    return _Features(evenly(context.layers, _LAYERS))
