"""Cut a model: slices in, a new model of the same class out. Knows layouts; not how importance was found.

The user's model is left as it was: the new one is built around slices of its tensors, so the whole never exists twice.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping

import torch
from torch import Tensor, nn

from autoprune.core.group import check_plan
from autoprune.core.plan import Plan
from autoprune.surgery.attributes import set_all
from autoprune.surgery.clone import clone
from autoprune.surgery.find import named_tensors
from autoprune.surgery.layers import Drop, drop_layers
from autoprune.surgery.layout import Layout, positions, size
from autoprune.surgery.module_sizes import sync_module_sizes
from autoprune.surgery.rows import fill_places
from autoprune.surgery.traced import Traced
from autoprune.surgery.tracked_int import Attribute


def kept_slices(traced: Traced, ranking: Mapping[str, Tensor], plan: Plan) -> dict[str, Tensor]:
    """For every group of slices that the plan cuts, the indices of its most important ones in ascending order (1-D).

    ranking: group -> 1-D scores, higher is more important; among equals the lower index stays.

    Raises:
        UsageError: the plan does not fit the groups.
    """
    check_plan(plan, traced.groups)
    groups = {group.name: group for group in traced.groups}
    kept: dict[str, Tensor] = {}
    for name, count in plan.keep:
        if count < groups[name].size and groups[name].kind != "weight":
            if groups[name].kind == "layer":
                kept[name] = torch.arange(count)
                continue
            order = torch.argsort(ranking[name], descending=True, stable=True)
            kept[name] = order[:count].sort().values.cpu()
    return kept


def apply(model: nn.Module, traced: Traced, slices: Mapping[str, Tensor], *, meta: bool = False) -> nn.Module:
    """A new model that holds only the given slices of each group, in the given order.

    slices: group -> indices (int64, 1-D); groups that are absent stay whole, a layer without slices is dropped;
    meta: the new model's tensors have shapes but no data.
    """
    layouts = {id(tensor): traced.layouts[name] for name, tensor in named_tensors(model) if name in traced.layouts}
    counts = {name: len(chosen) for name, chosen in slices.items()}

    smaller: set[int] = set()

    def cut(tensor: Tensor) -> Tensor:
        layout = layouts.get(id(tensor), ())
        data = like(tensor, _empty(tensor, layout, counts) if meta else _sliced(tensor.detach(), layout, slices))
        if data.shape != tensor.shape:
            smaller.add(id(data))
        return data

    new = clone(model, cut)
    values = {attribute: formula.value(counts) for attribute, formula in traced.formulas.items()}
    numbers = {attribute: value for attribute, value in values.items() if value != attribute.size}
    new = finished(new, numbers, [drop for name, drop in traced.layers.items() if counts.get(name) == 0], smaller)
    fill_places(new, model, traced, slices)
    return new


def finished(
    new: nn.Module, numbers: Mapping[Attribute, int], drops: Iterable[Drop], smaller: Container[int]
) -> nn.Module:
    """The model, in place, with all that goes with tensors that are cut already.

    numbers: what attributes hold now; drops: layers to leave out; smaller: the `id` of each tensor that was cut.
    """
    set_all(new, numbers)
    drop_layers(new, list(drops))
    for module in new.modules():
        if any(id(tensor) in smaller for tensor in (*module._parameters.values(), *module._buffers.values())):
            sync_module_sizes(module)
    return new


def _sliced(data: Tensor, layouts: tuple[Layout, ...], slices: Mapping[str, Tensor]) -> Tensor:
    """A copy of the chosen positions; of a tensor that is not cut, a copy of the whole."""
    whole = data
    for dim, layout in enumerate(layouts):
        chosen = positions(layout, slices)
        if chosen is not None:
            data = data.index_select(dim, chosen.to(data.device))
    return data.clone() if data is whole else data


def _empty(tensor: Tensor, layouts: tuple[Layout, ...], counts: Mapping[str, int]) -> Tensor:
    shape = [size(layout, counts) for layout in layouts] if layouts else tensor.shape
    return torch.empty(shape, dtype=tensor.dtype, device="meta")


def like(tensor: Tensor, data: Tensor) -> Tensor:
    """The data as what the tensor was: a parameter or a tensor, with its attributes and whether it has a gradient."""
    if isinstance(tensor, nn.Parameter):
        data = nn.Parameter(data, tensor.requires_grad)
    elif tensor.is_leaf and tensor.requires_grad:
        data.requires_grad_(True)
    vars(data).update(vars(tensor))
    return data
