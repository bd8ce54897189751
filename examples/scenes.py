"""Scikit-learn's handwritten digits as the other examples need them: split once, placed, turned or in a row."""

from functools import cache

import torch
from sklearn.datasets import load_digits
from torch.nn import functional

SHARES = {"train": 0.5, "calibration": 0.1, "search": 0.15, "validation": 0.1, "test": 0.15}


@cache
def digits(split):
    """Images (N, 1, 8, 8) from 0 to 1 and their labels (N,), each digit in one split only."""
    data = load_digits()
    images, labels = torch.tensor(data.images).float()[:, None] / 16, torch.tensor(data.target)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    ends = (torch.tensor([0.0, *SHARES.values()]).cumsum(0) * len(labels)).round().long()
    place = list(SHARES).index(split)
    chosen = order[ends[place] : ends[place + 1]]
    return images[chosen], labels[chosen]


def seeded(split):
    return torch.Generator().manual_seed(list(SHARES).index(split))


@cache
def canvases(split, size=16, batch=16):
    """Batches of (images (N, 1, 32, 32), targets): two digits on each, of 8 to 14 pixels, in noise."""
    images, labels = digits(split)
    generator, found = seeded(split), []
    for _ in range(size * (3 if split == "train" else 1)):
        canvas, targets = 0.1 * torch.randn(batch, 1, 32, 32, generator=generator), []
        for image in canvas:
            chosen = torch.randint(len(labels), (2,), generator=generator)
            boxes = []
            for half, digit in enumerate(images[chosen]):
                wide = int(torch.randint(8, 15, (), generator=generator))
                left = 16 * half + int(torch.randint(0, 17 - wide, (), generator=generator))
                top = int(torch.randint(0, 33 - wide, (), generator=generator))
                drawn = functional.interpolate(digit[None], size=(wide, wide), mode="bilinear")[0]
                image[:, top : top + wide, left : left + wide] += drawn
                boxes.append([left, top, left + wide, top + wide])
            targets.append({"boxes": torch.tensor(boxes).float(), "labels": labels[chosen]})
        found.append((canvas, targets))
    return found


@cache
def rows(split, count=30, batch=16, most=5):
    """Batches of (images (N, 1, 16, 48), labels (N, most), lengths (N,)): one to five digits in a row, in noise."""
    images, labels = digits(split)
    generator, found = seeded(split), []
    for _ in range(count * (3 if split == "train" else 1)):
        lines = 0.15 * torch.randn(batch, 1, 16, 48, generator=generator)
        lengths = torch.randint(1, most + 1, (batch,), generator=generator)
        chosen = torch.randint(len(labels), (batch, most), generator=generator)
        for line, length, digit in zip(lines, lengths, chosen, strict=True):
            left = 1
            for place in digit[:length]:
                top = int(torch.randint(0, 9, (), generator=generator))
                line[:, top : top + 8, left : left + 8] += images[place]
                left += 8 + int(torch.randint(0, 2, (), generator=generator))
        found.append((lines, labels[chosen], lengths))
    return found


def turned(images, degrees):
    """Images (N, 1, H, W) turned by so many degrees each (N,)."""
    angle = torch.deg2rad(degrees)
    zero = torch.zeros_like(angle)
    turns = torch.stack([angle.cos(), -angle.sin(), zero, angle.sin(), angle.cos(), zero], 1).view(-1, 2, 3)
    return functional.grid_sample(
        images, functional.affine_grid(turns, list(images.shape), align_corners=False), align_corners=False
    )
