"""Example inputs in one form, and which of the outputs matter. Knows the ways to give both; nothing of the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor, bfloat16, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from autoprune.errors import AutopruneError, UsageError, describe
from autoprune.surgery.tracer import tensors_of

#: What of a model's outputs matters: a field or key, a place, or what a function takes of them; None for all.
Outputs = str | int | Callable[[Any], Any] | None


class Example(NamedTuple):
    """The arguments of one forward pass, and what of its outputs matters."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: Outputs = None

    @classmethod
    def of(cls, inputs: Any, outputs: Outputs = None) -> Example:
        """From a tensor, a tuple or list of positional arguments, or a mapping of keyword arguments.

        Raises:
            UsageError: anything else, or no argument at all.
        """
        if isinstance(inputs, Example):
            return inputs
        if outputs is not None and (
            isinstance(outputs, bool) or not (isinstance(outputs, str | int) or callable(outputs))
        ):
            raise UsageError(
                expected="outputs as the name of a field, a place, or a function of what the model returns",
                received=repr(outputs),
                cure="pass for example outputs='logits'",
            )
        if isinstance(inputs, Tensor):
            return cls((inputs,), {}, outputs)
        if isinstance(inputs, Mapping) and inputs and all(isinstance(name, str) for name in inputs):
            return cls((), dict(inputs), outputs)
        if isinstance(inputs, tuple | list) and inputs:
            return cls(tuple(inputs), {}, outputs)
        raise UsageError(
            expected="example_inputs as a tensor, a tuple of arguments, or a dict of keyword arguments",
            received=f"an empty {type(inputs).__name__}"
            if isinstance(inputs, tuple | list | Mapping)
            else repr(inputs),
            cure="pass what one call of the model takes, such as (images,) or {'input_ids': ids}",
        )

    def call(self, model: nn.Module) -> Any:
        return model(*self.args, **self.kwargs)

    def taken(self, out: Any) -> Any:
        """What matters of what the model returned.

        Raises:
            UsageError: it has no such field or place, the function fails, or there is no tensor in what it takes.
        """
        if self.outputs is None:
            return out
        try:
            found = _taken(out, self.outputs)
        except AutopruneError:
            raise
        except Exception as error:
            raise self._missing(out, describe(error)) from error
        if not tensors_of(found) and tree_leaves(found):
            raise self._missing(out, "no tensor there")
        return found

    def _missing(self, out: Any, why: str) -> UsageError:
        fields = list(out) if isinstance(out, Mapping) else list(getattr(out, "__dict__", ()))
        has = f" with {', '.join(map(str, fields))}" if fields else ""
        named = getattr(self.outputs, "__name__", repr(self.outputs))
        return UsageError(
            expected=f"outputs={named} to take tensors of what the model returns",
            received=f"{why} from a {type(out).__name__}{has}",
            cure="name a field or a place that it has, or leave outputs out: then all of them matter",
        )

    def fresh(self) -> Example:
        """The same arguments in new tensors: a model may change its inputs in place."""
        return self.map(Tensor.clone)

    @property
    def tensors(self) -> list[Tensor]:
        return [leaf for leaf in tree_leaves((self.args, self.kwargs)) if isinstance(leaf, Tensor)]

    def map(self, change: Callable[[Tensor], Tensor]) -> Example:
        """The same arguments with every tensor changed."""
        args, kwargs = tree_map_only(Tensor, change, (self.args, self.kwargs))
        return self._replace(args=args, kwargs=kwargs)


def _taken(out: Any, outputs: str | int | Callable[[Any], Any]) -> Any:
    if callable(outputs):
        return outputs(out)
    if isinstance(outputs, str) and not (isinstance(out, Mapping) and outputs in out):
        return getattr(out, outputs)
    return out[outputs]


def arrays(outputs: Any) -> list[Any]:
    """Every tensor of what a model returned as a numpy array, in order; bfloat16, which numpy lacks, as float32."""
    found = [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor)]
    leaves = [leaf.detach().cpu() for leaf in found or tensors_of(outputs)]
    return [(leaf.float() if leaf.dtype is bfloat16 else leaf).numpy() for leaf in leaves]
