"""Normalisations: the scale, shift and statistics follow the normalised dimensions."""

from __future__ import annotations

from typing import Final

from torch import Tensor
from torch.utils._pytree import tree_leaves

from autoprune.surgery.labels import Label, Prod, freeze, split, unify
from autoprune.surgery.tracer import Call, Rule


def batch_norm(call: Call) -> None:
    """aten.native_batch_norm(x, weight, bias, running_mean, running_var, ...): channels are dimension 1."""
    channels = call.trace.of(call.args[0])[1]
    for tensor in call.args[1:5]:
        if isinstance(tensor, Tensor):
            unify(channels, call.trace.of(tensor)[0])
    _results(call, (channels,))


def layer_norm(call: Call) -> None:
    """aten.native_layer_norm(x, normalized_shape, weight, bias, eps), also the fused root-mean-square form."""
    labels = call.trace.of(call.args[0])
    rank = len(call.args[1])
    for tensor in call.args[2:4]:
        if isinstance(tensor, Tensor):
            for left, right in zip(labels[-rank:], call.trace.of(tensor), strict=True):
                unify(left, right)
    _results(call, (*labels[:-rank], *call.trace.fixed((1,) * rank, "statistics")))


def group_norm(call: Call) -> None:
    """aten.native_group_norm(x, weight, bias, N, C, HxW, groups, eps).

    Channels are groups x c; every group may lose the same c, the groups themselves stay unless c is 1.
    """
    x, count = call.args[0], call.args[6]
    channels = call.trace.of(x)[1]
    width = x.shape[1] // count
    if width > 1:
        outer, inner = split(channels, width)
        freeze(outer, "groups of a GroupNorm")
        channels = Prod((outer, inner))
    call.trace.last_groups = outer if width > 1 else channels
    for tensor in call.args[1:3]:
        if isinstance(tensor, Tensor):
            unify(channels, call.trace.of(tensor)[0])
    _results(call, ())


def _results(call: Call, statistics: tuple[Label, ...]) -> None:
    """The first result is like the input; the saved statistics behind it are `statistics`, or frozen."""
    first, *saved = (leaf for leaf in tree_leaves(call.out) if isinstance(leaf, Tensor))
    call.trace.set(first, call.trace.of(call.args[0]))
    for tensor in saved:
        fits = [label.size for label in statistics] == list(tensor.shape)
        call.trace.set(tensor, statistics if fits else call.trace.fixed(tensor.shape, "statistics"))


RULES: Final[dict[str, Rule]] = {
    **dict.fromkeys(("aten.native_batch_norm", "aten._native_batch_norm_legit", "aten.cudnn_batch_norm"), batch_norm),
    "aten._batch_norm_with_update": batch_norm,
    "aten._native_batch_norm_legit_no_training": batch_norm,
    **dict.fromkeys(("aten.native_layer_norm", "aten._fused_rms_norm"), layer_norm),
    "aten.native_group_norm": group_norm,
}
