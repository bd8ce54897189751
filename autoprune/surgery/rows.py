"""Rows of tables that are looked up: which may go, and what stands in for them. Knows `torch.nn`'s tables alone.

A row is found by a number that comes with the data. A table of which rows are left keeps the numbers of the whole one,
and has a place for each: of a row that is left its own, of one that is gone that of the nearest row that is left. So
data and vocabulary stay as they are, and what runs is proved as any cut is: with all rows, in another order, nothing
changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import torch
from torch import Tensor, nn

from autoprune.core.group import Group
from autoprune.surgery.layout import Part
from autoprune.surgery.rules.contraction import LOOKED_UP
from autoprune.surgery.traced import Traced

#: Numbers that are compared at a time when the nearest row is looked for.
_AT_ONCE: Final = 1 << 22


class KeptRows(nn.Embedding):
    """A table of which some rows are left. places (rows of the whole table,), int32: where each is found."""

    places: Tensor

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - as the class calls it
        """Numbers of rows of the whole table (*) to vectors (*, width)."""
        return super().forward(self.places[input])


class KeptBagRows(nn.EmbeddingBag):
    """The same of a table whose rows are added up or averaged."""

    places: Tensor

    def forward(self, input: Tensor, *about: Any, **more: Any) -> Tensor:  # noqa: A002 - as the class calls it
        """As the whole table's."""
        return super().forward(self.places[input], *about, **more)


_TABLES: Final[dict[type, type]] = {nn.Embedding: KeptRows, nn.EmbeddingBag: KeptBagRows}


def with_rows(traced: Traced, model: nn.Module) -> Traced:
    """The same, in which groups of rows that could go are of kind row; they stay whole until somebody opens them.

    A table with a row for padding is none: that row is no other's neighbour.
    """
    tables = {
        f"{name}.weight": module
        for name, module in model.named_modules()
        if type(module) in _TABLES and module.padding_idx is None
    }
    rows = {group.name: group for group in traced.groups if _of_rows(group) and group.members[0].tensor in tables}
    parts = {group.members[0].tensor: Part(name, group.size) for name, group in rows.items()}
    return replace(
        traced,
        groups=tuple(replace(group, kind="row") if group.name in rows else group for group in traced.groups),
        layouts={name: (parts[name], *dims[1:]) if name in parts else dims for name, dims in traced.layouts.items()},
    )


def _of_rows(group: Group) -> bool:
    return group.frozen_reason == LOOKED_UP and len(group.members) == 1 and group.members[0].dim == 0


def opened_rows(traced: Traced) -> Traced:
    """The same with groups of rows open, not proved yet."""
    groups = (replace(group, frozen_reason="") if group.kind == "row" else group for group in traced.groups)
    return replace(traced, groups=tuple(groups))


def looks_up(module: Any) -> None:
    """Make a table whose rows were cut one that is asked for rows of the whole, in place; its places are not filled."""
    if type(module) in _TABLES:
        count = module.num_embeddings
        module.__class__ = _TABLES[type(module)]
        module.register_buffer("places", torch.zeros(count, dtype=torch.int32, device=module.weight.device))


def fill_places(new: nn.Module, dense: nn.Module, traced: Traced, slices: Mapping[str, Tensor]) -> None:
    """Where the rows of each table that was cut are found. dense: whose rows say which are near."""
    rows = [group for group in traced.groups if group.kind == "row" and group.name in slices]
    there = dict(new.named_modules()) if rows else {}
    for group in rows:
        name = group.members[0].tensor.rpartition(".")[0]
        table: Any = there.get(name)
        if table is None:  # in a layer that was dropped
            continue
        looks_up(table)
        if not table.weight.is_meta:
            whole: Any = dense.get_submodule(name)
            weight = whole.weight.detach()
            table.places.copy_(_nearest(weight, slices[group.name].to(weight.device)))


def _nearest(rows: Tensor, kept: Tensor) -> Tensor:
    """For each row (N, width) the place among the kept ones (K,) of the nearest of them."""
    places = torch.empty(len(rows), dtype=torch.int64, device=rows.device)
    left, size = rows[kept].float(), max(_AT_ONCE // max(len(kept), 1), 1)
    for begin in range(0, len(rows), size):
        part = rows[begin : begin + size].float()
        places[begin : begin + size] = torch.cdist(part, left).argmin(1)
    places[kept] = torch.arange(len(kept), device=rows.device)  # of rows that are alike, each is found itself
    return places.int()
