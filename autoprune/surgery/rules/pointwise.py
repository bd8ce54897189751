"""Operators that act element by element, with broadcasting. Dimensions that meet must be equal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from torch import Tensor
from torch.utils._pytree import tree_leaves

from autoprune.surgery.labels import ONE, Label, cut, unify
from autoprune.surgery.tracer import Call, Rule


def broadcast(labels: Sequence[tuple[Label, ...]]) -> tuple[Label, ...]:
    """Align on the last dimension and unify; a dimension of size 1 takes the other's label."""
    rank = max((len(dims) for dims in labels), default=0)
    result: list[Label] = []
    for place in range(rank, 0, -1):
        meeting = [dims[-place] for dims in labels if len(dims) >= place and dims[-place].size != 1]
        for other in meeting[1:]:
            unify(meeting[0], other)
        result.append(meeting[0] if meeting else ONE)
    return tuple(result)


def pointwise(call: Call) -> None:
    inputs = [leaf for leaf in tree_leaves((call.args, call.kwargs)) if isinstance(leaf, Tensor)]
    labels = broadcast([call.trace.of(tensor) for tensor in inputs])
    for tensor in tree_leaves(call.out):
        if isinstance(tensor, Tensor):
            call.trace.set(tensor, labels)


def like_first(call: Call) -> None:
    """Results shaped like the first argument, whose other arguments are no tensors of its shape."""
    for tensor in tree_leaves(call.out):
        if isinstance(tensor, Tensor):
            call.trace.set(tensor, call.trace.of(call.args[0]))


def by_channel(call: Call) -> None:
    """aten.fake_quantize_per_channel_affine(x, scale, zero point, axis, ...): one scale for each place of the axis."""
    labels = call.trace.of(call.args[0])
    for each in call.args[1:3]:
        for label in call.trace.of(each):
            unify(labels[call.args[3]], label)
    like_first(call)


def observed(call: Call) -> None:
    """aten._fused_moving_avg_obs_fq_helper: quantised as if, with extremes that it keeps for all, or for each place of
    an axis."""
    x, _, _, *kept = call.args[:7]
    axis, each_row = call.args[10], call.arg(11, "per_row_fake_quant", False)
    if each_row:
        for tensor in kept:
            for label in call.trace.of(tensor):
                unify(call.trace.of(x)[axis], label)
    like_first(call)


def halves(call: Call) -> None:
    """aten.glu(x, dim): one half gates the other."""
    labels = list(call.trace.of(call.args[0]))
    dim = call.arg(1, "dim", -1)
    first, second = cut(labels[dim], labels[dim].size // 2)
    unify(first, second)
    labels[dim] = first
    call.trace.set(call.out, labels)


def restrided(call: Call) -> None:
    """aten.as_strided_(x, size, stride): inside torch, other strides for dimensions of size 1 alone."""
    labels = call.trace.of(call.args[0])
    sizes = [size for size in call.args[1] if size > 1]
    strides = [stride for size, stride in zip(call.args[1], call.args[2], strict=True) if size > 1]
    plain = strides == [math.prod(sizes[place + 1 :]) for place in range(len(sizes))]
    call.trace.set(call.out, labels if plain and list(call.args[1]) == [label.size for label in labels] else ())


#: Pointwise operators that carry no pointwise tag.
RULES: Final[dict[str, Rule]] = {
    **dict.fromkeys(
        (
            *("aten.copy_", "aten.hardswish_", "aten.hardtanh_", "aten._prelu_kernel", "aten.masked_fill_"),
            *("aten.masked_fill", "aten.where", "aten.lerp", "aten.addcmul", "aten.addcdiv", "aten.rsub"),
        ),
        pointwise,
    ),
    **dict.fromkeys(
        (
            *("aten._to_copy", "aten.alias", "aten.clone", "aten.contiguous", "aten.detach", "aten.detach_"),
            *("aten.lift_fresh", "aten.lift_fresh_copy", "aten.native_dropout", "aten.zeros_like", "aten.ones_like"),
            *("aten.empty_like", "aten.full_like", "aten.rand_like", "aten.randn_like", "aten.fill_", "aten.zero_"),
            *("aten.bernoulli", "aten.bernoulli_", "aten.uniform_", "aten.normal_", "aten.exponential_"),
            *("aten.random_", "aten.is_same_size", "aten.resolve_conj", "aten.conj", "aten._conj", "aten._neg_view"),
            *("aten._conj_physical", "aten.fake_quantize_per_tensor_affine_cachemask"),
            "aten._fake_quantize_per_tensor_affine_cachemask_tensor_qparams",
            *("aten.rrelu_with_noise", "aten.rrelu_with_noise_", "aten.rrelu_with_noise_functional"),
            *("aten.randint_like", "aten.poisson", "aten._standard_gamma", "aten._sample_dirichlet"),
            *("aten.geometric_", "aten.cauchy_", "aten.log_normal_"),
        ),
        like_first,
    ),
    "aten.fake_quantize_per_channel_affine_cachemask": by_channel,
    "aten._fused_moving_avg_obs_fq_helper": observed,
    "aten.glu": halves,
    "aten.as_strided_": restrided,
}
