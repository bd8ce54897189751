"""Training the examples' models once."""

from pathlib import Path

import torch
from safetensors.torch import load_model, save_model


def train(task, epochs: int, rate: float, weights: Path | None = None) -> None:
    """Train the task's own model on its train split, in place; once, and from then on load what it learnt.

    A search makes its task in several processes, which are all to have the same model. weights: where that is kept;
    None: beside this file.
    """
    weights = weights or Path(__file__).with_name(f"{task.name}-{epochs}.safetensors")
    if weights.exists():
        load_model(task.model, weights)
        task.model.eval()
        return
    steps = epochs * len(task.split("train"))
    optimizer = torch.optim.AdamW(task.model.parameters(), rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    task.model.train()
    for _ in range(epochs):
        for batch in task.split("train"):
            optimizer.zero_grad()
            task.loss(task.forward(task.model, batch), batch).backward()
            optimizer.step()
            schedule.step()
    task.model.eval()
    save_model(task.model, str(weights))
