"""A model that somebody else trains, in whatever wrapper. Knows parameters by name; not what is done to them when."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from autoprune.errors import UsageError
from autoprune.models.masks import from_torch_prune, plain_parameters
from autoprune.surgery import twin, unwrapped
from autoprune.surgery.wrappers import inner


class LiveModel:
    """The user's own object: its parameters stay those that optimizers and wrappers hold.

    Attributes:
        root: What is called, without wrappers around it.
    """

    def __init__(self, model: nn.Module) -> None:
        """model: in any wrapper."""
        self.root = inner(model) or model

    @property
    def bare(self) -> nn.Module:
        """A model of the same parameters without wrappers inside; the root where there are none."""
        return unwrapped(self.root)

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """By the names that they have without wrappers and without the masks of `torch.nn.utils.prune`."""
        return plain_parameters(self.bare)

    def plain(self) -> nn.Module:
        """A copy without wrappers, in which what `torch.nn.utils.prune` has masked is zero."""
        plain = twin(self.bare, meta=False)[0]
        from_torch_prune(plain)
        return plain

    def check(self, trained: nn.Module) -> None:
        """Whether somebody trains this model, or one that has it inside.

        Raises:
            UsageError: it is another model.
        """
        own = {id(parameter) for parameter in self.root.parameters()}
        if not own <= {id(parameter) for parameter in trained.parameters()}:
            raise UsageError(
                expected="a trainer of the pruner's own model",
                received=f"a {type(trained).__name__} with other parameters",
                cure="pass the same object to both",
            )

    def zero(self, kept: dict[str, Tensor]) -> None:
        """Set to zero in place what masks leave out: by name, bool; they are moved to where parameters are."""
        own = self.parameters
        with torch.no_grad():
            for name in kept.keys() & own.keys():
                mask = kept[name] = kept[name].to(own[name].device)
                own[name].masked_fill_(~mask, 0)

    def put(self, tensors: Mapping[str, Tensor]) -> None:
        """Give parameters and buffers the values of these, in place."""
        own = {**self.parameters, **dict(self.bare.named_buffers())}
        with torch.no_grad():
            for name in tensors.keys() & own.keys():
                own[name].copy_(tensors[name])


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Copies of parameters and buffers by name, on the processor."""
    own = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {name: each.detach().cpu().clone() for name, each in own.items()}
