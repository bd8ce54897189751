"""Modules that only run another: on several devices, or compiled. Knows where they keep it; nothing of what they do.

They are taken off: they hold gradients, hooks and streams for the tensors that they were made with.
"""

from __future__ import annotations

from typing import Final

from torch import nn

#: By where a class was defined, which need not have been imported: the attribute that has the module that is run.
_INNER: Final = {
    ("torch.nn.parallel.data_parallel", "DataParallel"): "module",
    ("torch.nn.parallel.distributed", "DistributedDataParallel"): "module",
    ("torch._dynamo.eval_frame", "OptimizedModule"): "_orig_mod",
}


def inner(module: nn.Module) -> nn.Module | None:
    """What a wrapper runs, wrappers of wrappers taken off; None where it is none."""
    found = None
    while attributes := [
        _INNER[place] for kind in type(module).__mro__ if (place := (kind.__module__, kind.__qualname__)) in _INNER
    ]:
        found = module = getattr(module, attributes[0])
    return found


def wrappers(model: nn.Module) -> tuple[str, ...]:
    """Names of the classes of wrappers in a model, each once."""
    return tuple(dict.fromkeys(type(module).__name__ for module in model.modules() if inner(module) is not None))
