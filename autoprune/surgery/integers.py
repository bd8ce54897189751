"""Sizes that `torch.nn` modules remember. Knows the attributes of each module class; the tensors are already cut."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd


def mend(module: nn.Module, groups: int | None) -> None:
    """Set what a module remembers of its sizes from its tensors.

    groups: of a grouped convolution after the cut; None where the module is none.
    """
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor):
        if isinstance(module, _NormBase) and module.running_mean is not None:
            module.num_features = module.running_mean.shape[0]
        return
    if isinstance(module, _ConvNd):
        count = module.groups = groups or module.groups
        first, second = weight.shape[0], weight.shape[1] * count
        module.in_channels, module.out_channels = (
            (first, second) if isinstance(module, _ConvTransposeNd) else (second, first)
        )
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = weight.shape
    elif isinstance(module, _NormBase):
        module.num_features = weight.shape[0]
    elif isinstance(module, nn.LayerNorm | nn.RMSNorm):
        module.normalized_shape = tuple(weight.shape)
    elif isinstance(module, nn.GroupNorm):
        if module.num_groups == module.num_channels:
            module.num_groups = weight.shape[0]
        module.num_channels = weight.shape[0]
    elif isinstance(module, nn.Embedding):
        module.num_embeddings, module.embedding_dim = weight.shape
    elif isinstance(module, nn.PReLU):
        module.num_parameters = weight.shape[0]
