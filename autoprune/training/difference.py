"""Whether a model without slices does the same as the one in which they are zero. Knows outputs on the example inputs.

It does, but where zeros count: a normalisation over a width has the mean and the spread of all that is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from autoprune.core.plan import Plan
from autoprune.errors import SurgeryError
from autoprune.surgery import Traced, apply, twin
from autoprune.surgery.example import Example, arrays
from autoprune.surgery.layout import positions
from autoprune.surgery.random_state import forked_random
from autoprune.training.thinning import thinned, zero

#: Outputs that differ by no more than this share of the largest are the same.
_SAME: Final = 1e-4
#: Names that are shown at most.
_SHOWN: Final = 3


def foreseen(dense: nn.Module, traced: Traced, plan: Plan, example: Example) -> str:
    """What to say of a model whose slices are to be zero while it is trained and cut after that; it stays as it is.

    Args:
        dense: Without wrappers and masks.
        traced: Its groups.
        plan: How many slices of each group stay.
        example: One forward pass.

    Returns:
        Where the cut model does not do the same; empty where it does.

    Raises:
        SurgeryError: with zeros in it the model comes to no numbers.
    """
    thin = twin(dense, meta=False)[0]
    slices, kept = thinned(thin, traced, plan)
    zero(thin, kept)
    if _numbers(dense, example) and not _numbers(thin, example):
        raise SurgeryError(
            expected="a model whose slices can be zero while it is trained",
            received="no numbers as outputs with zeros in it",
            cure="take off what makes weights of others, such as weight_norm, or freeze= those layers",
        )
    return differing(thin, apply(thin, traced, slices), traced, slices, example)


def differing(thin: nn.Module, cut: nn.Module, traced: Traced, slices: Mapping[str, Tensor], example: Example) -> str:
    """What to say where a cut model does not do the same as the one with zeros in place; empty where it does."""
    before, after = _outputs(thin, example), _outputs(cut, example)
    if [each.shape for each in before] == [each.shape for each in after]:
        largest = max((float(np.abs(each).max()) for each in before if each.size), default=0.0)
        gaps = [float(np.abs(one - other).max()) for one, other in zip(before, after, strict=True) if one.size]
        if not max(gaps, default=0.0) > _SAME * max(largest, 1e-12):
            return ""
        found = f"by {max(gaps) / max(largest, 1e-12):.2g} of the largest"
    else:
        found = "in their shapes"
    norms = [
        name
        for name, module in thin.named_modules()
        if "norm" in type(module).__name__.lower() and not isinstance(module, _NormBase)
        for own, _ in module.named_parameters(recurse=False)
        if any(positions(layout, slices) is not None for layout in traced.layouts.get(f"{name}.{own}", ()))
    ]
    dropped = [name for name, kept in slices.items() if name in traced.layers and not len(kept)]
    causes = [(norms, "normalise over widths that are cut"), (dropped, "are dropped as a whole")]
    why = " and ".join(f"{_listed(names)} {what}" for names, what in causes if names)
    return (
        f"outputs of the cut model differ from those of the model with zeros {found}{': ' if why else ''}{why}; train "
        "it on when it is cut"
    )


def _listed(names: Iterable[str]) -> str:
    each = list(dict.fromkeys(names))
    return ", ".join(each[:_SHOWN]) + (f" and {len(each) - _SHOWN} more" if len(each) > _SHOWN else "")


def _numbers(model: nn.Module, example: Example) -> bool:
    return not any(np.isnan(each).any() for each in _outputs(model, example))


def _outputs(model: nn.Module, example: Example) -> list[Any]:
    """Floating-point results of a copy in eval mode, drawing the same random numbers each time."""
    with torch.no_grad(), forked_random(0):
        found = arrays(example.fresh().call(twin(model, meta=False)[0].eval()))
    return [each.astype(np.float64) for each in found if np.issubdtype(each.dtype, np.floating)]
