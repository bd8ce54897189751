"""A lottery ticket: train, see which weights matter, and train these again from the values that they had at first.

python examples/lottery_ticket.py
"""

import torch
from own_loop import BATCH, accuracy, data, network
from torch import nn

import autoprune

EPOCHS = 10


def train(model, pruner=None):
    """The usual loop; its random numbers are the same each time, so that only weights differ."""
    torch.manual_seed(0)
    (images, labels), _ = data()
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    model.train()
    for _ in range(EPOCHS):
        for part in torch.randperm(len(images))[: len(images) // BATCH * BATCH].split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[part]), labels[part]).backward()
            optimizer.step()
            if pruner is not None:
                pruner.step()
    return model


def tickets(keep=0.1):
    """The ticket, and a network with the same few places whose first weights are others."""
    (images, _), _ = data()
    steps = EPOCHS * (len(images) // BATCH)
    torch.manual_seed(1)
    model = network()
    pruner = autoprune.Pruner(
        model, images[:1], keep=keep, pattern="unstructured", steps=2 * steps,
        schedule="lottery-ticket", schedule_options={"look": 0.5},
    )  # fmt: skip
    train(model, pruner)  # the last step sets all back to the first weights, but for those that are zero now
    torch.manual_seed(2)
    other = autoprune.to_torch_prune(network(), autoprune.masks(model))
    train(model, pruner)
    return pruner.finish().model, train(other)


if __name__ == "__main__":
    ticket, other = tickets()
    _, test = data()
    print(
        f"ticket {accuracy(ticket, *test):.3f}, the same places with other first weights {accuracy(other, *test):.3f}"
    )
