"""A decoder at work: the pass of its prompt, and the step of one token with all before it in the cache. Knows how
causal language models of transformers are called and what they keep; measures nothing.

The example inputs say how long both are: of N tokens all are the prompt, and the step is that of the last one.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from autoprune.core.measurement import FORWARD
from autoprune.errors import UsageError, describe
from autoprune.surgery.example import Example
from autoprune.surgery.modes import evaluating

#: Arguments with a place for each token of the call, and the dimension of those places.
_BY_TOKEN: Final = {"input_ids": 1, "inputs_embeds": 1, "token_type_ids": 1, "position_ids": -1}
#: The one with a place for each token of the cache as well.
_MASK: Final = "attention_mask"
_CACHE, _KEEP, _LAST = "past_key_values", "use_cache", "logits_to_keep"
#: What one takes that decodes beside an encoder, whose cache is another one.
_ENCODED: Final = "decoder_input_ids"
#: How far a step may be from the same token in a whole pass; relative L2 distance.
_TOLERANCE: Final = 1e-3


class Prefill(nn.Module):
    """The pass of a prompt before text is generated: the cache is filled, and only the last token's answer is computed,
    where the model lets one choose."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self._last = {_LAST: 1} if _LAST in inspect.signature(model.forward).parameters else {}

    def forward(self, **inputs: Any) -> Any:
        return self.model(**inputs, **{_KEEP: True}, **self._last)[0]


class Decode(nn.Module):
    """The step of the last token. What comes before it goes through the model once, in the first call; every call finds
    the cache as that left it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self._cache: Any = None

    def forward(self, **inputs: Any) -> Any:
        if self._cache is None:
            self._cache = _kept(self.model(**_part(inputs, slice(None, -1)), **{_KEEP: True}))
        cache = {_CACHE: _again(self._cache)}
        return self.model(**_part(inputs, slice(-1, None)), **cache, **{_KEEP: True})[0]


def at_work(model: nn.Module, example: Example, work: str) -> tuple[nn.Module, Example]:
    """What is run of a model for some work, and on what.

    Args:
        model: Any, for a forward pass; else one that `check_decoder` has let pass.
        example: One forward pass of it.
        work: One of `WORKS`.
    """
    if work == FORWARD:
        return model, example
    part = Prefill(model) if work == "prefill" else Decode(model)
    return part.train(model.training), Example((), _by_name(model, example))


def _takes_cache(model: nn.Module) -> bool:
    """Whether a model takes a cache of keys and values, as far as its arguments tell."""
    names = set(inspect.signature(model.forward).parameters)
    return {_CACHE, _KEEP} <= names and _ENCODED not in names


def decodes(model: nn.Module, example: Example) -> bool:
    """Whether it is a decoder that answers with its cache as without."""
    return not _objection(model, example)


def check_decoder(model: nn.Module, example: Example, wanted: str) -> None:
    """Refuse to decode with what is no decoder.

    Args:
        model: In any mode.
        example: One forward pass of it.
        wanted: The metric that asks for it.

    Raises:
        UsageError: it keeps no keys and values, or answers otherwise with them than without.
    """
    received = _objection(model, example)
    if received:
        raise UsageError(
            expected=f"a causal language model that keeps keys and values, for '{wanted}'",
            received=f"{type(model).__name__}: {received}",
            cure="limit latency instead",
        )


def cache_sizes(model: nn.Module, example: Example) -> dict[str, int]:
    """Bytes of keys and values after all tokens of the example, by the name of the layer that has them; nothing of a
    model that keeps none."""
    if not _takes_cache(model):
        return {}
    try:
        inputs = _by_name(model, example)
        with torch.no_grad(), evaluating(model):
            cache = _kept(model(**inputs, **{_KEEP: True}))
    except Exception:  # it may need more than text, or keep nothing; who limits the cache was told by `check_decoder`
        return {}
    layers = cache if isinstance(cache, tuple) else getattr(cache, "layers", [cache])
    numbered = {vars(module).get("layer_idx"): name for name, module in model.named_modules()}
    return {
        numbered.get(place, str(place)): sum(tensor.numel() * tensor.element_size() for tensor in _tensors(layer))
        for place, layer in enumerate(layers)
    }


def _objection(model: nn.Module, example: Example) -> str:
    """Why it cannot decode; empty where it can."""
    if not _takes_cache(model):
        return f"no {_CACHE} among its arguments"
    try:
        whole = Example((), _by_name(model, example))
        step, _ = at_work(model, whole, "decode")
        with torch.no_grad(), evaluating(model):
            expected = whole.call(model)[0][:, -1:]
            steps = [whole.call(step) for _ in range(2)]
    except UsageError as error:
        return error.received
    except Exception as error:  # whatever a model says that is called so for the first time
        return describe(error)
    far = [float((each - expected).norm() / expected.norm().clamp_min(1e-12)) for each in steps]
    return "" if max(far) <= _TOLERANCE else f"a step with its cache is {max(far):.1%} from one without"


def _by_name(model: nn.Module, example: Example) -> dict[str, Any]:
    """What a model is given to read, by name."""
    bound = inspect.signature(model.forward).bind(*example.args, **example.kwargs)
    extra = bound.arguments.pop("kwargs", {})
    given = {name: value for name, value in {**bound.arguments, **extra}.items() if value is not None}
    known = {name: value for name, value in given.items() if name in (*_BY_TOKEN, _MASK)}
    tokens = next((known[name].shape[1] for name in ("input_ids", "inputs_embeds") if name in known), 0)
    if tokens < 2:
        raise UsageError(
            expected="example inputs with input_ids of at least 2 tokens",
            received=f"{tokens} tokens" if tokens else ", ".join(given),
            cure="give a longer text",
        )
    return known


def _part(inputs: Mapping[str, Any], tokens: slice) -> dict[str, Any]:
    """Some of the tokens. A mask also covers those before them."""
    found = {
        name: value.narrow(_BY_TOKEN[name], *_span(value.shape[_BY_TOKEN[name]], tokens))
        for name, value in inputs.items()
        if name in _BY_TOKEN
    }
    if _MASK in inputs:
        found[_MASK] = inputs[_MASK][..., : tokens.stop]
    return found


def _span(length: int, tokens: slice) -> tuple[int, int]:
    begin, end, _ = tokens.indices(length)
    return begin, end - begin


def _kept(out: Any) -> Any:
    """The cache that a model returns."""
    cache = getattr(out, _CACHE, None)
    if cache is None:
        raise UsageError(
            expected=f"a model that returns {_CACHE}",
            received=f"none in its {type(out).__name__}",
            cure="check its config",
        )
    return cache


def _again(cache: Any) -> Any:
    """The cache for one more step, which leaves the tensors of this one alone and puts others in their place."""
    if isinstance(cache, tuple):
        return cache
    fresh = copy.copy(cache)
    for name, value in vars(cache).items():
        if isinstance(value, list):
            setattr(fresh, name, [each if isinstance(each, Tensor) else copy.copy(each) for each in value])
    return fresh


def _tensors(layer: Any) -> Iterator[Tensor]:
    """Those of one layer of a cache."""
    held = list(vars(layer).values()) if hasattr(layer, "__dict__") and not isinstance(layer, Tensor) else layer
    return (leaf for leaf in tree_leaves(held) if isinstance(leaf, Tensor))
