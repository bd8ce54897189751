"""Small networks of the kinds that people bring, with data that is made up."""

import torch
from torch import nn
from torch.nn import functional


class Detector(nn.Module):
    """Images (N, 1, 16, 16); in train mode a dict of losses, in eval mode a list of dicts of boxes and scores."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3, 2, 1), nn.ReLU()
        )
        self.scores, self.boxes = nn.Conv2d(16, 1, 1), nn.Conv2d(16, 4, 1)

    def forward(self, images, targets=None):
        features = self.body(images)
        scores, boxes = self.scores(features).flatten(1), self.boxes(features).flatten(2).mT
        if self.training:
            there = torch.stack([target["there"] for target in targets])
            wanted = torch.stack([target["boxes"] for target in targets])
            apart = functional.l1_loss(boxes[there], wanted[there]) if there.any() else boxes.sum() * 0
            return {
                "objectness": functional.binary_cross_entropy_with_logits(scores, there.float()),
                "boxes": apart,
            }
        best = scores.topk(4).indices
        return [
            {"scores": score[place].sigmoid(), "boxes": box[place]}
            for score, box, place in zip(scores, boxes, best, strict=True)
        ]


def detection_batches(count=4, size=8, seed=0):
    """Batches of bright spots: (images, targets), as a detector's loader gives them."""
    generator = torch.Generator().manual_seed(seed)
    batches = []
    for _ in range(count):
        images, targets = 0.1 * torch.randn(size, 1, 16, 16, generator=generator), []
        for image in images:
            row, column = torch.randint(1, 7, (2,), generator=generator).tolist()
            image[0, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2] += 2
            there = torch.zeros(8, 8, dtype=torch.bool)
            there[row, column] = True
            targets.append({"there": there.flatten(), "boxes": torch.tensor([row, column, 1.0, 1.0]).expand(64, 4) / 8})
        batches.append((images, targets))
    return batches


class TwoHeaded(nn.Module):
    """Vectors (N, 8) to logits (N, 3); in train mode a pair with those of an auxiliary head."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head, self.aux = nn.Linear(8, 32), nn.Linear(32, 3), nn.Linear(32, 3)

    def forward(self, x):
        hidden = self.body(x).relu()
        return (self.head(hidden), self.aux(hidden)) if self.training else self.head(hidden)


def points(count=128, seed=0):
    """Vectors (count, 8) and the largest of their first three entries as label."""
    inputs = torch.randn(count, 8, generator=torch.Generator().manual_seed(seed))
    return inputs, inputs[:, :3].argmax(1)


def mlp(width=32):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3))
