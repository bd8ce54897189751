"""Zeroed weights to and from `torch.nn.utils.prune`. Knows masks and its names; not how zeros were chosen."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from autoprune.errors import UsageError

_ORIGINAL, _MASK = "_orig", "_mask"


def masks(model: nn.Module) -> dict[str, Tensor]:
    """Name the zeros of a model.

    Args:
        model: Whose parameters of at least two dimensions are looked at; those that `torch.nn.utils.prune` has masked
            are found under their own name, by their mask.

    Returns:
        By name of each parameter with zeros in it, which elements are other: bool, of its shape.

    Example:
        >>> masks(model)["fc.weight"].float().mean()  # the share that is left  # doctest: +SKIP
    """
    found = {
        name: parameter != 0
        for name, parameter in model.named_parameters()
        if parameter.dim() > 1 and not name.endswith(_ORIGINAL) and bool((parameter == 0).any())
    }
    named = {name.removesuffix(_MASK): kept.bool() for name, kept in model.named_buffers() if name.endswith(_MASK)}
    return {**found, **{name: kept for name, kept in named.items() if hasattr(*_place(model, name + _ORIGINAL))}}


def to_torch_prune(model: nn.Module, kept: Mapping[str, Tensor] | None = None) -> nn.Module:
    """Hand zeros over to `torch.nn.utils.prune`, in place: each masked weight keeps its zeros in further training.

    Args:
        model: With zeros in its weights.
        kept: By parameter, which elements stay; None takes those of `masks`.

    Returns:
        The same model.

    Raises:
        UsageError: a mask for no parameter of this model, or of another shape.
    """
    modules = dict(model.named_modules())
    for name, mask in (masks(model) if kept is None else kept).items():
        path, _, key = name.rpartition(".")
        module = modules.get(path)
        parameter = getattr(module, key, None)
        if not isinstance(parameter, Tensor) or parameter.shape != mask.shape:
            raise UsageError(
                expected=f"masks of parameters of {type(model).__name__}",
                received=f"'{name}' of shape {list(mask.shape)}",
                cure="take them from `autoprune.masks(model)`",
            )
        if not hasattr(module, key + _MASK):
            owners = [
                (each, own) for each in model.modules() for own, held in each._parameters.items() if held is parameter
            ]
            for each, own in owners:  # a tied weight has several
                prune.custom_from_mask(each, own, mask.to(parameter.device))  # type: ignore[no-untyped-call]
    return model


def from_torch_prune(model: nn.Module) -> dict[str, Tensor]:
    """Make the masks of `torch.nn.utils.prune` plain zeros, in place, so that the model can be cut.

    Args:
        model: With masked parameters.

    Returns:
        The masks by name: bool, of the parameter's shape.
    """
    found = {}
    for name, mask in masks(model).items():
        module, key = _place(model, name)
        if hasattr(module, key + _MASK):
            with torch.no_grad():
                prune.remove(module, key)  # type: ignore[no-untyped-call]
            found[name] = mask
    return found


def plain_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters by name, those that `torch.nn.utils.prune` has masked under the name that they had before."""
    buffers = {name for name, _ in model.named_buffers()}
    return {
        plain if (plain := name.removesuffix(_ORIGINAL)) + _MASK in buffers else name: parameter
        for name, parameter in model.named_parameters()
    }


def _place(model: nn.Module, name: str) -> tuple[nn.Module, str]:
    path, _, key = name.rpartition(".")
    return model.get_submodule(path), key
