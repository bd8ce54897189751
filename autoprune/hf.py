"""Pruned models of transformers, saved and opened by transformers. Knows `prune`'s result; importing it registers the
type "autoprune" with the Auto classes: the one that has a model's class opens what no configuration can say.

    import autoprune.hf
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained("small")
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

from torch import nn

from autoprune.measure.pruned import Pruned
from autoprune.models.auto_classes import register
from autoprune.models.configuration import pretrained
from autoprune.models.own_library import read, write
from autoprune.store.files import storing
from autoprune.surgery import unwrapped

__all__ = ["load", "save"]


def save(pruned: Pruned | nn.Module, folder: str | PathLike[str], *, dense: nn.Module | None = None) -> bool:
    """Write a model into a folder that transformers opens.

    Args:
        pruned: What `autoprune.prune` returned, or its model.
        folder: Made where it is not there.
        dense: The dense model, where widths differ between layers or heads were made thinner: no configuration says
            that, so the folder keeps the dense one's.

    Returns:
        Whether transformers opens it without `import autoprune.hf`.

    Raises:
        UsageError: it is no model of transformers, or the dense one is needed.
        StorageError: the folder cannot be written.

    Example:
        >>> autoprune.hf.save(autoprune.prune(model, inputs, 0.5, space="hf"), "small")  # doctest: +SKIP
    """
    model, form = (pruned.model, pruned.form) if isinstance(pruned, Pruned) else (pruned, None)
    own: Any = None if dense is None else pretrained(unwrapped(dense)).get("")
    path = Path(folder)
    with storing(path):
        path.mkdir(parents=True, exist_ok=True)
        return write(model, form, None if own is None else own.config.to_dict(), path)


def load(folder: str | PathLike[str]) -> Any:
    """Open what `save`, or `autoprune export --format transformers`, wrote.

    Args:
        folder: That was written.

    Returns:
        The model in eval mode, of the class that it was saved from, with the data types of the file.

    Raises:
        StorageError: a file is missing or damaged.
    """
    return read(Path(folder))


register()
