"""Text to learn from without a download: windows of bytes from the source of Python's standard library."""

import importlib
import inspect
from pathlib import Path

import torch

MODULES = ("turtle", "tarfile", "typing")


def windows(length: int, stride: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Byte ids (N, length) as int64, and for each window the number of the module that it comes from (N,)."""
    ids, labels = [], []
    for label, name in enumerate(MODULES):
        text = torch.tensor(list(Path(inspect.getfile(importlib.import_module(name))).read_bytes()))
        cut = text.unfold(0, length, stride)
        ids.append(cut)
        labels.append(torch.full((len(cut),), label))
    return torch.cat(ids), torch.cat(labels)
