"""What a model returns, compared with what another one returns. Knows values and shapes; not how models were cut.

A detector returns as many boxes as it finds, a synthesiser as many samples as it has to say: such sizes differ without
a fault. Which they are is seen by other weights of the same sizes: what changes with them depends on values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from autoprune.surgery.find import twin
from autoprune.surgery.noise import seeded
from autoprune.surgery.tracer import tensors_of

Place = tuple[int, int]
Shape = tuple[int, ...]
#: How weights are changed to see which sizes follow, the gentlest way first.
_CHANGES: Final[tuple[Callable[[Tensor], Tensor], ...]] = (
    lambda weight: weight * (1 + 0.2 * torch.randn_like(weight)),
    lambda weight: weight * (1 + torch.randn_like(weight)),
    lambda weight: weight.flatten()[torch.randperm(weight.numel(), device=weight.device)].view_as(weight),
)


class Results(NamedTuple):
    """returned: every tensor; inside: moments of what each module returned, taken where that has no numbers."""

    returned: list[Tensor]
    inside: list[Tensor]

    @property
    def is_empty(self) -> bool:
        return not any(each.numel() for each in self.returned)

    @property
    def is_blank(self) -> bool:
        """Whether there is no finite number among what is returned, so that it cannot differ."""
        return not any(bool(torch.isfinite(each).any()) for each in self.returned)

    @classmethod
    def of(cls, run: Callable[[nn.Module], Any], model: nn.Module) -> Results | None:
        """What `run` of the model returns, in float64; None where that is no tensor, nor a container without any."""
        out = run(model)
        found = tensors_of(out)
        if not found and tree_leaves(out):
            return None
        results = cls([_double(each) for each in found], [])
        if results.is_blank:
            with _watched(model) as moments:
                run(model)
            results.inside.extend(moments)
        return results

    def differ(self, other: Results, tolerance: float) -> bool:
        """Whether values differ by more than the tolerance, relative to the largest of a tensor, or shapes at all."""
        inside = (self.inside, other.inside) if self.inside and other.inside else ([], [])
        pairs = ((self.returned, other.returned), inside)
        return any(_differ(left, right, tolerance) for left, right in pairs)


class Sizes:
    """Which sizes of a model's results are its own, and which depend on values: these are found out when needed.

    whole: the model; run: what a model returns.
    """

    def __init__(self, whole: nn.Module, run: Callable[[nn.Module], Sequence[Tensor]], returned: Sequence[Tensor]):
        self._whole, self._run = whole, run
        self._shapes = _shapes(returned)
        self.vary: set[Place] = set()

    def fit(self, returned: Sequence[Tensor], cut: nn.Module) -> bool:
        """Whether the results of a model that was cut have the sizes that they should have."""
        shapes = _shapes(returned)
        unlike = _unlike(shapes, self._shapes)
        # Of a thousand boxes the best hundred are returned: the whole model may always find as many, the cut one not.
        for change, (model, usual) in product(_CHANGES, ((cut, shapes), (self._whole, self._shapes))):
            if not unlike - self.vary or _COUNT in self.vary:
                return True
            try:
                self.vary |= _unlike(_shapes(self._run(_changed(model, change))), usual)
            except Exception:  # noqa: S112 - user code on numbers that it was not made for
                continue
        return not unlike - self.vary or _COUNT in self.vary


def _changed(model: nn.Module, change: Callable[[Tensor], Tensor]) -> nn.Module:
    """A copy with other weights."""
    model = twin(model, meta=False)[0]
    with torch.no_grad(), seeded():
        for parameter in filter(torch.is_floating_point, model.parameters()):
            parameter.copy_(change(parameter))
    return model


#: How many tensors there are, of how many dimensions.
_COUNT: Final[Place] = (-1, -1)


def _shapes(returned: Sequence[Tensor]) -> list[Shape]:
    return [tuple(each.shape) for each in returned]


def _unlike(shapes: list[Shape], usual: list[Shape]) -> set[Place]:
    """Where sizes differ: tensor and dimension."""
    if [len(shape) for shape in shapes] != [len(shape) for shape in usual]:
        return {_COUNT}
    return {
        (place, dim)
        for place, (shape, other) in enumerate(zip(shapes, usual, strict=True))
        for dim, (size, wanted) in enumerate(zip(shape, other, strict=True))
        if size != wanted
    }


@contextmanager
def _watched(model: nn.Module) -> Iterator[list[Tensor]]:
    """What modules return inside, as numbers that no order of slices changes."""
    moments: list[Tensor] = []

    def hook(_: nn.Module, __: Any, out: Any) -> None:
        for each in tensors_of(out):
            if each.is_floating_point() and each.numel():
                flat = each.detach().double().flatten()
                moments.append(torch.stack([flat.mean(), flat.abs().mean(), flat.square().mean().sqrt()]))

    handles = [module.register_forward_hook(hook) for module in model.modules() if _takes_hooks(module)]
    try:
        yield moments
    finally:
        for handle in handles:
            handle.remove()


def _takes_hooks(module: nn.Module) -> bool:
    return not isinstance(module, torch.jit.ScriptModule)


def _double(tensor: Tensor) -> Tensor:
    return tensor.to(torch.complex128 if tensor.is_complex() else torch.float64)


def _differ(left: Sequence[Tensor], right: Sequence[Tensor], tolerance: float) -> bool:
    if len(left) != len(right):
        return True
    for one, other in zip(left, right, strict=True):
        if one.shape != other.shape:
            return True
        finite = torch.isfinite(other)
        if not torch.equal(finite, torch.isfinite(one)):
            return True
        if finite.any():
            scale = other[finite].abs().max().clamp_min(1e-12)
            if not bool((one[finite] - other[finite]).abs().max() <= tolerance * scale):
                return True
    return False
