"""Sizes that `torch.nn` modules show but do not compute with. Knows the attributes of each module class.

What modules compute with was found by tracing; this keeps what they print, check and save in step with their tensors.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from autoprune.surgery.rows import looks_up


def sync_module_sizes(module: nn.Module) -> None:
    """Set what a module remembers of its sizes from its tensors, which are already cut."""
    if isinstance(module, nn.RNNBase):
        _mend_recurrent(module)
    elif isinstance(module, nn.MultiheadAttention):
        _mend_attention(module)
    elif isinstance(module, nn.RNNCellBase):
        module.hidden_size, module.input_size = module.weight_hh.shape[1], module.weight_ih.shape[1]
    elif isinstance(module, _NormBase):
        module.num_features = next(t.shape[0] for t in (module.weight, module.running_mean) if t is not None)
    else:
        _mend_weighted(module)


def _mend_recurrent(module: nn.RNNBase) -> None:
    if "weight_ih_l0" not in module._parameters:
        return  # normalised weights are made anew on each run
    sizes = {name: parameter.shape for name, parameter in module.named_parameters(recurse=False)}
    module.input_size = sizes["weight_ih_l0"][1]
    module.hidden_size = sizes["weight_ih_l0"][0] // {"LSTM": 4, "GRU": 3}.get(module.mode, 1)
    module.proj_size = sizes["weight_hr_l0"][0] if module.proj_size else 0


def _mend_weighted(module: nn.Module) -> None:
    weight = getattr(module, "weight", None)
    if "weight_g" in module._parameters:  # of weight_norm; under spectral_norm `weight_v` is a vector
        weight = module.weight_v
    elif "weight_orig" in module._parameters:
        weight = module.weight_orig
    if not isinstance(weight, Tensor):
        return
    if isinstance(module, _ConvNd):
        first, second = weight.shape[0], weight.shape[1] * module.groups
        module.in_channels, module.out_channels = (
            (first, second) if isinstance(module, _ConvTransposeNd) else (second, first)
        )
    elif isinstance(module, nn.Linear) and weight.dim() == 2:
        module.out_features, module.in_features = weight.shape
    elif isinstance(module, nn.LayerNorm | nn.RMSNorm):
        module.normalized_shape = tuple(weight.shape)
    elif isinstance(module, nn.GroupNorm):
        module.num_channels = weight.shape[0]
    elif isinstance(module, nn.Embedding | nn.EmbeddingBag):
        if weight.shape[0] < module.num_embeddings:
            looks_up(module)
        module.num_embeddings, module.embedding_dim = weight.shape
    elif isinstance(module, nn.PReLU):
        module.num_parameters = weight.shape[0]


def _mend_attention(module: nn.MultiheadAttention) -> None:
    weight = module.q_proj_weight if module.in_proj_weight is None else module.in_proj_weight
    module.embed_dim = weight.shape[1]  # torch compares it with the query, and that need not be as wide as the result
    for name, weight in (("kdim", module.k_proj_weight), ("vdim", module.v_proj_weight)):
        setattr(module, name, module.embed_dim if weight is None else weight.shape[1])
    module.head_dim = module.embed_dim // module.num_heads
