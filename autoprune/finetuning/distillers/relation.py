"""Which samples of a batch are alike: similarities of what enters the last layer (Tung and Mori 2019).

A similarity has no channels, so that models of any widths compare.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from torch import Tensor
from torch.nn import functional

from autoprune.finetuning.distillers import Distiller, DistillerContext, Seen, exact
from autoprune.finetuning.watching import Place

NEEDS: Final = "batches of several samples, and a convolution or a linear layer that runs once for a batch"


@dataclass(frozen=True)
class _Relation:
    places: tuple[Place, ...]

    def __call__(self, student: Seen, teacher: Seen) -> Tensor | None:
        if not all(place in seen.at for place in self.places for seen in (student, teacher)) or not self.places:
            return None
        own, dense = (_similarities(seen.at[self.places[0]]) for seen in (student, teacher))
        return (own - dense).square().sum(1).mean() if own.shape == dense.shape and len(own) > 1 else None


def _similarities(features: Tensor) -> Tensor:
    """(samples, samples): inner products, each row of norm 1 (equation 2)."""
    rows = exact(features).flatten(1)
    return functional.normalize(rows @ rows.mT, dim=1)


def create(context: DistillerContext) -> Distiller:
    """The mean over samples of the squared distance of their rows of similarities (equation 4, by samples)."""
    return _Relation(tuple(Place(layer.name, entering=True) for layer in context.layers[-1:]))
