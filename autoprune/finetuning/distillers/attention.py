"""Where a few layers are active: the energy of pixels or tokens over all channels (Zagoruyko and Komodakis 2017).

A map has no channels, so that models of any widths compare.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from autoprune.finetuning.distillers import Distiller, DistillerContext, Layer, Seen, both, evenly
from autoprune.finetuning.watching import Place

NEEDS: Final = "convolutions, or linear layers of tokens, that run once for a batch"
#: Layers that are compared.
_LAYERS: Final = 4


@dataclass(frozen=True)
class _Attention:
    layers: tuple[Layer, ...]

    @property
    def places(self) -> Sequence[Place]:
        return [layer.place for layer in self.layers]

    def __call__(self, student: Seen, teacher: Seen) -> Tensor | None:
        terms = []
        for layer, own, dense in both(self.layers, student, teacher):
            mine, wanted = _map(own, layer), _map(dense, layer)
            if mine.shape == wanted.shape and wanted.shape[1] > 1:
                terms.append((mine - wanted).square().sum(1).mean())
        return torch.stack(terms).mean() if terms else None


def _map(results: Tensor, layer: Layer) -> Tensor:
    """(samples, positions): the sum of squares over channels, of norm 1 for each sample."""
    return functional.normalize(results.square().sum(layer.channels).flatten(1), dim=1)


def create(context: DistillerContext) -> Distiller:
    """The mean, over layers with positions and samples, of the squared distance of normalised maps (equation 2)."""
    return _Attention(evenly([layer for layer in context.layers if layer.has_positions], _LAYERS))
