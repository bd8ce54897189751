"""Optimal brain surgeon on the layers that read a group: greedy removal, the rest fitted again after each step.

With H = S + l I over the inputs of a reader W (S their moments), removing the inputs of slice s costs
tr(W_s [(H^-1)_ss]^-1 W_s'), after which W -= W_s [(H^-1)_ss]^-1 (H^-1)_s and H^-1 loses its block (Hassibi & Stork
1993; blocks: ZipLM, Kurtic et al. 2023, eq. 3). Costs are shares of the energy of what W puts out, summed over readers.
The score of a slice is the error when it and all before it are gone, so that sorted scores are the nested error curve
of the group. Single weights are scored at once, w^2 / (H^-1)_jj (Frantar & Alistarh 2023, eq. 3).

Slices go one at a time, but what that changes is only worked out where it is looked at: a step costs a row, and the
matrices are brought up to date every so many steps at once, without what is gone by then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from autoprune.criteria import GroupView, InputStats, View, factored, ridged

NEEDS: Final = "activations"
#: So many steps halve what is left of a very wide group; narrower ones lose one slice a step.
_STEPS: Final = 512
#: Entries that are removed before the matrices are brought up to date, and the least share of all that these are.
_PENDING, _SHARE = 96, 16
#: Matrices shrink where fewer of their slices than this share are left.
_SHRUNK: Final = 0.8
#: Wider readers are followed in float32, and wider ones still are inverted in it: with the ridge, their orders agree.
_DOUBLE, _DOUBLE_INVERSE = 1152, 3072


def score(group: GroupView) -> Tensor:
    """The cumulative relative error at which each slice is removed."""
    if any(view.role == "elements" for view in group.views):
        return group.total_read(_single)
    places: dict[str, list[tuple[View, InputStats]]] = {}
    for view, reads in group.readers:
        places.setdefault(view.tensor, []).append((view, reads))
    readers = [_Reader(each) for each in places.values()]
    scores = torch.zeros(group.size, dtype=torch.float64)
    left = torch.arange(group.size)
    spent = 0.0
    while len(left):
        costs = torch.stack([reader.costs() for reader in readers]).sum(0)[left]
        count = max(len(left) // _STEPS, 1)
        chosen = costs.argmin()[None] if count == 1 else torch.argsort(costs, stable=True)[:count]
        spent_by = costs[chosen].clamp_min(0).cumsum(0) + spent
        scores[left[chosen]] = spent_by
        spent = float(spent_by[-1])
        gone, stays = left[chosen], torch.ones(len(left), dtype=torch.bool)
        stays[chosen] = False
        left = left[stays]
        for reader in readers:
            reader.remove(gone)
    return scores


def _single(view: View, reads: InputStats) -> Tensor:
    return view.rows.square().sum(1) / reads.per_position(_inverse(reads.moments.solvable()).diagonal())


def _inverse(moment: Tensor) -> Tensor:
    """(S + l I)^-1; the identity where there is nothing at all."""
    if len(moment) > _DOUBLE_INVERSE:
        lower, info = torch.linalg.cholesky_ex(ridged(moment.float()))
        if not bool(info.any()):
            return torch.cholesky_inverse(lower)
    found = factored(moment)
    return torch.eye(len(moment), dtype=moment.dtype) if found is None else torch.cholesky_inverse(found)


def _entries(view: View, reads: InputStats) -> Tensor:
    """Where each slice stands in the moments, (slices, entries of one)."""
    inside = (view.slices >= 0).nonzero()[:, 0]
    order = inside[torch.argsort(view.slices[inside], stable=True)]
    return reads.columns[order].reshape(view.size, -1)


class _Reader:
    """One weight that reads the group, in one place or in several, as slices are removed.

    Rows and columns are the entries of slices, those of one slice next to each other. What they are at the moment is
    H^-1 - C'W and G - Q'W - W'Q: C, W and Q have a row for each entry that is gone and still pending.
    """

    _count: int
    _c: Tensor
    _w: Tensor
    _q: Tensor

    def __init__(self, places: Sequence[tuple[View, InputStats]]) -> None:
        view, reads = places[0]
        entries = torch.cat([_entries(*place) for place in places], 1)
        self._each, order = entries.shape[1], entries.flatten()
        kind = torch.float64 if len(order) <= _DOUBLE else torch.float32
        positions, taps = reads.columns.shape
        matrix = view.rows.view(positions, -1, taps).permute(1, 0, 2).reshape(-1, positions * taps).to(kind)
        moment = reads.moments.solvable()
        gram = matrix.T @ matrix
        energy = float(torch.dot(gram.flatten(), moment.flatten().to(kind)))
        self._gram = gram[order][:, order] / (energy if energy > 0 else 1.0)
        self._inverse = _inverse(moment)[order][:, order].to(kind)
        self._size = view.size
        self._block = torch.arange(view.size)  # by slice, its place among the blocks that are left
        self._slices = torch.arange(view.size)  # by block, its slice
        self._alive = torch.ones(view.size, dtype=torch.bool)
        self._inverses, self._grams = self._diagonal(self._inverse), self._diagonal(self._gram)
        self._clear()

    def costs(self) -> Tensor:
        """(size,) what each slice would cost next; 0 for those that are gone."""
        if self._each == 1:
            found = self._grams.flatten() / self._inverses.flatten()
        else:
            one = torch.eye(self._each, dtype=self._inverses.dtype)
            blocks = torch.where(self._alive[:, None, None], self._inverses, one)
            found = torch.linalg.solve(blocks, self._grams).diagonal(dim1=1, dim2=2).sum(1)
        costs = torch.zeros(self._size, dtype=torch.float64)
        costs[self._slices[self._alive]] = found[self._alive].double()
        return costs

    def remove(self, slices: Tensor) -> None:
        blocks = self._block[slices]
        rows = (blocks[:, None] * self._each + torch.arange(self._each)).flatten()
        columns, weights, changes = self._c[: self._count], self._w[: self._count], self._q[: self._count]
        inverse = self._inverse[rows] - columns[:, rows].T @ weights
        gram = self._gram[rows] - changes[:, rows].T @ weights - weights[:, rows].T @ changes
        weight = torch.linalg.solve(inverse[:, rows], inverse)
        change = gram - gram[:, rows].T @ weight / 2
        own = self._blocks(weight)
        self._inverses -= self._blocks(inverse).mT @ own
        product = self._blocks(change).mT @ own
        self._grams -= product + product.mT
        self._alive[blocks] = False
        if self._count + len(rows) > len(self._c):
            self._update(inverse, weight, change)
            return
        place = slice(self._count, self._count + len(rows))
        self._c[place], self._w[place], self._q[place] = inverse, weight, change
        self._count += len(rows)

    def _update(self, *last: Tensor) -> None:
        """Bring the matrices up to date; last: rows that had no room."""
        pending = ((self._c, *last[:1]), (self._w, *last[1:2]), (self._q, *last[2:]))
        columns, weights, changes = (torch.cat([kept[: self._count], more]) for kept, more in pending)
        if self._alive.double().mean() < _SHRUNK:
            stays = self._alive.nonzero()[:, 0]
            entries = (stays[:, None] * self._each + torch.arange(self._each)).flatten()
            columns, weights, changes = (rows[:, entries] for rows in (columns, weights, changes))
            self._inverse, self._gram = (each[entries][:, entries] for each in (self._inverse, self._gram))
            self._slices, self._alive = self._slices[stays], torch.ones(len(stays), dtype=torch.bool)
            self._block = torch.zeros(self._size, dtype=torch.int64)
            self._block[self._slices] = torch.arange(len(stays))
        self._inverse.addmm_(columns.T, weights, alpha=-1)
        self._gram.addmm_(changes.T, weights, alpha=-1).addmm_(weights.T, changes, alpha=-1)
        self._inverses, self._grams = self._diagonal(self._inverse), self._diagonal(self._gram)
        self._clear()

    def _clear(self) -> None:
        """Nothing is pending."""
        room = max(_PENDING, len(self._inverse) // _SHARE, self._each)
        self._c, self._w, self._q = (self._inverse.new_empty(room, len(self._inverse)) for _ in range(3))
        self._count = 0

    def _blocks(self, rows: Tensor) -> Tensor:
        """(blocks, rows, entries of one)"""
        return rows.view(len(rows), len(self._alive), self._each).transpose(0, 1)

    def _diagonal(self, matrix: Tensor) -> Tensor:
        """(blocks, entries of one, entries of one)"""
        count = len(matrix) // self._each
        square = matrix.view(count, self._each, count, self._each)
        return square.diagonal(dim1=0, dim2=2).permute(2, 0, 1).clone()
