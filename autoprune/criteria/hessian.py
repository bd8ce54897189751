"""Optimal brain surgeon on the layers that read a group: greedy removal, the rest healed after each step.

With H = S + l I over the inputs of a reader W (S their moments), removing the inputs of slice s costs
tr(W_s [(H^-1)_ss]^-1 W_s'), after which W -= W_s [(H^-1)_ss]^-1 (H^-1)_s and H^-1 loses its block (Hassibi & Stork
1993; blocks: ZipLM, Kurtic et al. 2023, eq. 3). Costs are shares of the energy of what W puts out, summed over readers.
The score of a slice is the error when it and all before it are gone, so that sorted scores are the nested error curve
of the group. Single weights are scored at once, w^2 / (H^-1)_jj (Frantar & Alistarh 2023, eq. 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from autoprune.criteria import Reads, Scored, View, factored

NEEDS: Final = "activations"
#: So many steps halve what is left of a very wide group; narrower ones lose one slice a step.
_STEPS: Final = 128


def score(group: Scored) -> Tensor:
    """The cumulative relative error at which each slice is removed."""
    if any(view.role == "elements" for view in group.views):
        return group.total_read(_single)
    places: dict[str, list[tuple[View, Reads]]] = {}
    for view, reads in group.readers:
        places.setdefault(view.tensor, []).append((view, reads))
    readers = [_Reader(each) for each in places.values()]
    scores = torch.zeros(group.size, dtype=torch.float64)
    alive = torch.ones(group.size, dtype=torch.bool)
    spent = 0.0
    while alive.any():
        costs = torch.stack([reader.costs() for reader in readers]).sum(0)
        left = alive.nonzero()[:, 0]
        order = left[torch.argsort(costs[left], stable=True)][: max(len(left) // _STEPS, 1)]
        for slice_, cost in zip(order.tolist(), costs[order].tolist(), strict=True):
            spent += max(cost, 0.0)
            scores[slice_] = spent
        alive[order] = False
        for reader in readers:
            reader.remove(order)
    return scores


def _single(view: View, reads: Reads) -> Tensor:
    return view.rows.square().sum(1) / reads.per_position(_inverse(reads.moments.solvable()).diagonal())


def _inverse(moment: Tensor) -> Tensor:
    """(S + l I)^-1; the identity where there is nothing at all."""
    lower = factored(moment)
    return torch.eye(len(moment), dtype=moment.dtype) if lower is None else torch.cholesky_inverse(lower)


def _entries(view: View, reads: Reads) -> Tensor:
    """Where each slice stands in the moments, (slices, entries of one)."""
    inside = (view.slices >= 0).nonzero()[:, 0]
    order = inside[torch.argsort(view.slices[inside], stable=True)]
    return reads.columns[order].reshape(view.size, -1)


class _Reader:
    """One weight that reads the group, in one place or in several: G = W'W and H^-1, both (entries, entries), as slices
    are removed."""

    def __init__(self, places: Sequence[tuple[View, Reads]]) -> None:
        view, reads = places[0]
        self._entries = torch.cat([_entries(*place) for place in places], 1)
        positions, taps = reads.columns.shape
        matrix = view.rows.view(positions, -1, taps).permute(1, 0, 2).reshape(-1, positions * taps)
        moment = reads.moments.solvable()
        self._gram = matrix.T @ matrix
        energy = float((self._gram * moment).sum())
        self._gram /= energy if energy > 0 else 1.0
        self._inverse = _inverse(moment)
        self._alive = torch.ones(view.size, dtype=torch.bool)

    def costs(self) -> Tensor:
        """What each slice would cost next; 0 for those that are gone."""
        rows, columns = self._entries[:, :, None], self._entries[:, None, :]
        blocks = self._inverse[rows, columns]
        blocks = torch.where(self._alive[:, None, None], blocks, torch.eye(blocks.shape[-1], dtype=blocks.dtype))
        found = torch.linalg.solve(blocks, self._gram[rows, columns]).diagonal(dim1=1, dim2=2).sum(1)
        return torch.where(self._alive, found, torch.zeros_like(found))

    def remove(self, slices: Tensor) -> None:
        gone = self._entries[slices].flatten()
        weights = torch.linalg.solve(self._inverse[gone][:, gone], self._inverse[gone])
        self._inverse = self._inverse - self._inverse[:, gone] @ weights
        product = self._gram[:, gone] @ weights
        self._gram = self._gram - product - product.T + weights.T @ self._gram[gone][:, gone] @ weights
        for matrix in (self._inverse, self._gram):
            matrix[gone] = 0
            matrix[:, gone] = 0
        self._alive[slices] = False
