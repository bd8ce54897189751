"""Cut a model: slices in, a new model of the same class out. Knows layouts; not how importance was found.

The user's model is left as it was: a deep copy is made in which each tensor that is cut is replaced, while copying, by
its slice, so the whole model never exists twice.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from autoprune.core.plan import Plan
from autoprune.core.space import check_plan
from autoprune.surgery.integers import mend
from autoprune.surgery.layout import positions
from autoprune.surgery.traced import Traced


def named_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers, tied ones once, under their first name."""
    yield from model.named_parameters()
    yield from model.named_buffers()


def kept_slices(traced: Traced, ranking: Mapping[str, Tensor], plan: Plan) -> dict[str, Tensor]:
    """For every group of the plan, the indices of its most important slices in ascending order (int64, 1-D).

    ranking: group -> 1-D scores, higher is more important; among equals the lower index stays.

    Raises:
        UsageError: the plan does not fit the groups.
    """
    check_plan(plan, traced.groups)
    sizes = {group.name: group.size for group in traced.groups}
    kept: dict[str, Tensor] = {}
    for name, count in plan.keep:
        if count < sizes[name]:
            order = torch.argsort(ranking[name], descending=True, stable=True)
            kept[name] = order[:count].sort().values.cpu()
    return kept


def apply(model: nn.Module, traced: Traced, slices: Mapping[str, Tensor]) -> nn.Module:
    """A new model that holds only the given slices of each group, in the given order.

    slices: group -> indices (int64, 1-D); groups that are absent stay whole.
    """
    memo: dict[int, Tensor] = {}
    for name, tensor in named_tensors(model):
        data = tensor.detach()
        for dim, layout in enumerate(traced.layouts[name]):
            chosen = positions(layout, slices)
            if len(chosen) != data.shape[dim] or not torch.equal(chosen, torch.arange(len(chosen))):
                data = data.index_select(dim, chosen.to(data.device))
        if data is not tensor and data.data_ptr() == tensor.data_ptr():
            data = data.clone()
        memo[id(tensor)] = nn.Parameter(data, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else data
    cut = copy.deepcopy(model, memo)
    for path, module in cut.named_modules():
        groups = traced.conv_groups.get(f"{path}.weight" if path else "weight")
        mend(module, None if groups is None else len(positions(groups, slices)))
    return cut
