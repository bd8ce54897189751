"""More cut of a model that was cut already. Knows layouts of the dense model; not how slices were chosen."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from autoprune.errors import SurgeryError
from autoprune.surgery.apply import apply
from autoprune.surgery.find import named_tensors
from autoprune.surgery.layout import Layout, positions, size
from autoprune.surgery.rows import fill_places
from autoprune.surgery.traced import Traced


def recut(
    dense: nn.Module, traced: Traced, model: nn.Module, before: Mapping[str, Tensor], after: Mapping[str, Tensor]
) -> nn.Module:
    """A model with fewer slices than another one that was cut from the same dense model, and with its weights.

    Args:
        dense: The dense model, of which shapes are taken.
        traced: Of the dense model.
        model: What was cut from it, trained since.
        before: By group, the indices that `model` has (int64, 1-D), of the dense model's slices.
        after: The same of the new model; each is among those before.

    Returns:
        A new model in eval mode.

    Raises:
        SurgeryError: a slice is asked for that the model does not have any more, or its tensors are others.
    """
    new = apply(dense, traced, after).eval()
    old = dict(named_tensors(model))
    counts = {name: len(chosen) for name, chosen in before.items()}
    with torch.no_grad():
        for name, tensor in named_tensors(new):
            layouts = traced.layouts.get(name, ())
            shape = tuple(size(layout, counts) for layout in layouts) if layouts else tuple(tensor.shape)
            found = old.get(name)
            if found is None or tuple(found.shape) != shape:
                if isinstance(tensor, nn.Parameter):  # a buffer may be made, and grow, as the model runs
                    raise SurgeryError(
                        expected=f"'{name}' of shape {list(shape)}, as the slices before left it",
                        received="none" if found is None else str(list(found.shape)),
                        cure="pass the model that was cut by these slices, with the tensors that it got",
                    )
                continue
            data = found.detach()
            for dim, layout in enumerate(layouts):
                chosen = among(layout, before, after)
                data = data if chosen is None else data.index_select(dim, chosen.to(data.device))
            tensor.copy_(data)
        fill_places(new, dense, traced, after)
    return new


def composed(before: Mapping[str, Tensor], local: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Slices of a cut model's slices, as slices of the dense model; both by group, int64 and 1-D."""
    own = {name: before[name][kept] if name in before else kept for name, kept in local.items()}
    return {**before, **own}


def among(layout: Layout, before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> Tensor | None:
    """Where the positions that stay are among those that were left, (N,) int64; None where all stay.

    Args:
        layout: Of a dimension of the dense model's tensor.
        before: By group, the indices that were left.
        after: The same of those that stay.

    Raises:
        SurgeryError: some of these were not left.
    """
    was, now = positions(layout, before), positions(layout, after)
    if now is None:
        return None
    whole = size(layout)
    place = torch.full((whole,), -1)
    place[torch.arange(whole) if was is None else was] = torch.arange(whole if was is None else len(was))
    found = place[now]
    if bool((found < 0).any()):
        raise SurgeryError(
            expected="slices that the model still has",
            received=f"{int((found < 0).sum())} others",
            cure="choose among those that were kept before",
        )
    return found
