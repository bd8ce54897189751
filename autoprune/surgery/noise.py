"""Noise that is the same for every slice. Knows operators that draw random numbers; not groups or models.

A model that adds noise does not give the same when its slices change places, as each then meets another number. Where
all slices meet the same one, it must. What is drawn varies along the dimensions that are never cut, so that it does not
vanish in a norm; what is drawn for a rate or a share is what is expected of it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from autoprune.surgery.operator_watch import OperatorWatch
from autoprune.surgery.random_state import forked_random

_aten = torch.ops.aten
#: Drawn in an order of positions, which stay where they are.
_POSITIONS: Final = (_aten.randperm, _aten.multinomial)

DROPOUT: Final = "dropout_p"
#: A drawn tensor's dimensions: the size, and whether it may be cut.
Drawn = tuple[tuple[int, bool], ...]


@contextmanager
def seeded() -> Iterator[None]:
    """The same random numbers each time, of torch, numpy and Python; the caller's are given back."""
    plain, arrays = random.getstate(), np.random.get_state()
    with forked_random(0):
        random.seed(0)
        np.random.seed(0)
        try:
            yield
        finally:
            random.setstate(plain)
            np.random.set_state(arrays)


def draws(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> bool:
    """Whether a call of this operator draws numbers for places of a tensor."""
    packet = func.overloadpacket
    if packet in _POSITIONS:
        return False
    if packet in _EXPECTED:
        return True
    return torch.Tag.nondeterministic_seeded in func.tags and _given(func, args, kwargs, DROPOUT, 1) != 0


class AlikeNoise(OperatorWatch):
    """Random numbers are the same along every dimension that may be cut.

    drawn: what the model is known to draw; of tensors of other shapes all places get one number.
    """

    def __init__(self, drawn: Iterable[Drawn]) -> None:
        super().__init__()
        self._drawn = tuple(drawn)

    def seen(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not draws(func, args, kwargs):
            return func(*args, **kwargs)
        if (expected := _EXPECTED.get(func.overloadpacket)) is not None:
            result = expected(self, func, args, kwargs)
            given = kwargs.get("out")
            return result if given is None else given.resize_(result.shape).copy_(result)
        out = func(*_without_dropout(func, args), **{name: each for name, each in kwargs.items() if name != DROPOUT})
        return self.alike(out) if isinstance(out, Tensor) else out

    def alike(self, drawn: Tensor) -> Tensor:
        """In place: the first number along each dimension that may be cut, everywhere along it."""
        shape = tuple(drawn.shape)
        known = [dims for dims in self._drawn if _fits(dims, shape)]
        for dim, size in enumerate(shape):
            if size > 1 and (not known or any(dims[dim][1] for dims in known)):
                drawn.copy_(drawn.narrow(dim, 0, 1).clone().expand(shape))
        return drawn


def _fits(dims: Drawn, shape: Sequence[int]) -> bool:
    return len(dims) == len(shape) and all(
        found <= size if cut else found == size for (size, cut), found in zip(dims, shape, strict=True)
    )


def _given(func: Any, args: Sequence[Any], kwargs: dict[str, Any], name: str, default: Any) -> Any:
    for place, argument in enumerate(func._schema.arguments):
        if argument.name == name:
            return args[place] if place < len(args) else kwargs.get(name, argument.default_value)
    return default


def _without_dropout(func: Any, args: Sequence[Any]) -> list[Any]:
    """Attention that drops probabilities drops none."""
    names = [argument.name for argument in func._schema.arguments]
    return [0.0 if name == DROPOUT else value for name, value in zip(names, args, strict=False)]


Expected = Callable[[AlikeNoise, Any, tuple[Any, ...], dict[str, Any]], Any]


def _dropout(_: AlikeNoise, __: Any, args: tuple[Any, ...], ___: dict[str, Any]) -> Any:
    """native_dropout(x, p, train): everything is kept, and scaled as what is kept is."""
    x, share, train = args[:3]
    scale = 1 / (1 - share) if train in (True, None) and share < 1 else 1.0
    return x * scale, torch.ones_like(x, dtype=torch.bool)


def _bernoulli(_: AlikeNoise, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """bernoulli(p), bernoulli(x, p) and the form in place: one where a share of its own makes it likely; ones for a
    share that all have, as in dropout, so that something is left."""
    x = args[0]
    share = _given(func, args, kwargs, "p", x)
    likely = share.expand(x.shape) >= 0.5 if isinstance(share, Tensor) else torch.full_like(x, float(share)) > 0
    return x.copy_(likely) if func._schema.is_mutable else likely.to(x.dtype)


def _normal(noise: AlikeNoise, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """normal(mean, deviation), of which at least one is a tensor; or of a size."""
    if not any(isinstance(arg, Tensor) for arg in args[:2]):
        return noise.alike(func(*args, **kwargs))
    mean, deviation = args[0], _given(func, args, kwargs, "std", 1.0)
    like = mean if isinstance(mean, Tensor) else deviation
    shape = torch.broadcast_shapes(*(each.shape for each in (mean, deviation) if isinstance(each, Tensor)))
    drawn = torch.randn(shape, dtype=like.dtype, device=like.device, generator=kwargs.get("generator"))
    return mean + deviation * noise.alike(drawn)


def _slope(_: AlikeNoise, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """rrelu_with_noise(x, noise, lower, upper, training): the middle slope, as when it does not train."""
    lower, upper = (_given(func, args, kwargs, name, None) for name in ("lower", "upper"))
    return _aten.leaky_relu(args[0], (lower + upper) / 2)


def _mean(of: Callable[..., Tensor]) -> Expected:
    return lambda _, __, args, ___: of(*args)


_EXPECTED: Final[dict[Any, Expected]] = {
    _aten.native_dropout: _dropout,
    _aten.bernoulli: _bernoulli,
    _aten.bernoulli_: _bernoulli,
    _aten.normal: _normal,
    _aten.rrelu_with_noise: _slope,
    _aten.poisson: _mean(lambda rate, *_: rate.round()),
    _aten._standard_gamma: _mean(lambda concentration, *_: concentration.clone()),
    _aten._sample_dirichlet: _mean(lambda concentration, *_: concentration / concentration.sum(-1, keepdim=True)),
    _aten.binomial: _mean(lambda count, share, *_: (count * share).round()),
}
