"""Text to learn from without a download: windows of bytes from the source of Python's standard library."""

import importlib
import inspect
from pathlib import Path

import torch
from safetensors.torch import load_model, save_model

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


def train(task, epochs: int, rate: float) -> None:
    """Train the task's own model on its train split, in place; once, and from then on load what it learnt.

    A search makes its task in several processes, which are all to have the same model.
    """
    weights = Path(__file__).with_name(f"{task.name}-{epochs}.safetensors")
    if weights.exists():
        load_model(task.model, weights)
        task.model.eval()
        return
    optimizer = torch.optim.AdamW(task.model.parameters(), rate)
    task.model.train()
    for _ in range(epochs):
        for batch in task.split("train"):
            optimizer.zero_grad()
            task.loss(task.forward(task.model, batch), batch).backward()
            optimizer.step()
    task.model.eval()
    save_model(task.model, str(weights))
