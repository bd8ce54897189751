"""Parameters as gates let them through. Knows layouts and one number a slice; not what the numbers are learned from."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from autoprune.surgery.find import named_tensors
from autoprune.surgery.layout import slice_of_position
from autoprune.surgery.traced import Traced


def gated(model: nn.Module, traced: Traced, numbers: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Multiply slices wherever their group stands, where they are written and where they are read.

    With ones and zeros the model does what the cut one does, unrepaired, but for normalisations over a width, which
    count the zeros. A layer at zero adds nothing to its input.

    Args:
        model: That was traced.
        traced: Its groups.
        numbers: By group, one a slice (size,), of a layer one for all; gradients flow back to them.

    Returns:
        Products by name, of the parameters that these groups hold.
    """
    own = {name: each.detach() for name, each in named_tensors(model) if isinstance(each, nn.Parameter)}
    found: dict[str, Tensor] = {}
    for group in traced.groups:
        for member in group.members if group.name in numbers else ():
            if member.tensor not in own or not own[member.tensor].is_floating_point():
                continue
            tensor, number = found.get(member.tensor, own[member.tensor]), numbers[group.name].to(own[member.tensor])
            if member.dim is None:
                found[member.tensor] = tensor * number.view(tensor.shape if len(number) == tensor.numel() else 1)
                continue
            shape = [1] * tensor.dim()
            shape[member.dim] = -1
            for place in slice_of_position(traced.layouts[member.tensor][member.dim], group.name):
                own_ones = (place < 0).to(number)  # positions of no slice
                tensor = tensor * (number[place.clamp(min=0)] * (1 - own_ones) + own_ones).view(shape)
            found[member.tensor] = tensor
    return found
