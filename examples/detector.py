"""A detector as torchvision's are: losses in train mode, a list of boxes, labels and scores in eval mode.

autoprune search examples/detector.py:task --budget latency=60%

It finds handwritten digits on a canvas: one output a cell, where a centre may be (Zhou et al. 2019, without anchors).
"""

import torch
from scenes import canvases
from torch import nn
from torch.nn import functional
from training import train

import autoprune

CLASSES, STRIDE, SURE = 10, 4, 0.3


def block(consumed, produced, stride=1):
    convolution = nn.Conv2d(consumed, produced, 3, stride, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(produced), nn.ReLU())


class Detector(nn.Module):
    """Images (N, 1, H, W) and, in train mode, targets."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(block(1, 24), block(24, 48, 2), block(48, 48), block(48, 96, 2), block(96, 96))
        self.centres, self.boxes = nn.Conv2d(96, CLASSES, 1), nn.Conv2d(96, 4, 1)

    def forward(self, images, targets=None):
        features = self.backbone(images)
        centres, boxes = self.centres(features), self.boxes(features)
        return self.losses(centres, boxes, targets) if self.training else self.detections(centres, boxes)

    def losses(self, centres, boxes, targets):
        wanted, apart = torch.zeros_like(centres), []
        for image, target in enumerate(targets):
            for box, label in zip(target["boxes"], target["labels"], strict=True):
                column, row = ((box[:2] + box[2:]) / 2 / STRIDE).long().tolist()
                wanted[image, label, row, column] = 1
                place = STRIDE * torch.tensor([column, row, column, row])
                apart.append(functional.l1_loss(boxes[image, :, row, column], (box - place) / 8))
        heat = functional.binary_cross_entropy_with_logits(centres, wanted, reduction="sum") / len(apart)
        return {"centres": heat, "boxes": torch.stack(apart).mean()}

    def detections(self, centres, boxes):
        scores = centres.sigmoid()
        peaks = (scores == functional.max_pool2d(scores, 3, 1, 1)) & (scores > SURE)
        found = []
        for peak, score, box in zip(peaks, scores, boxes, strict=True):
            labels, rows, columns = peak.nonzero(as_tuple=True)
            corners = STRIDE * torch.stack([columns, rows, columns, rows], 1) + 8 * box[:, rows, columns].T
            found.append({"boxes": corners, "labels": labels, "scores": score[labels, rows, columns]})
        return found


def overlap(one, other):
    """Intersection over union of each pair of boxes."""
    low, high = torch.maximum(one[:, None, :2], other[None, :, :2]), torch.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(-1) for boxes in (one, other)]
    return shared / (areas[0][:, None] + areas[1][None] - shared)


def evaluate(model, batches):
    """F1 of boxes that have the right label and share at least half of their area with the true one."""
    hits = said = true = 0
    for images, targets in batches:
        for found, target in zip(model(images), targets, strict=True):
            alike = found["labels"][:, None] == target["labels"][None]
            hits += int(((overlap(found["boxes"], target["boxes"]) >= 0.5) & alike).any(0).sum())
            said, true = said + len(found["labels"]), true + len(target["labels"])
    return {"f1": 2 * hits / max(said + true, 1)}


def task():
    torch.manual_seed(0)
    made = autoprune.Task(
        name="detector",
        model=Detector(),
        example_inputs=(canvases("calibration")[0][0][:4],),
        splits=lambda: {name: canvases(name) for name in ("train", "calibration", "search", "validation", "test")},
        evaluate=evaluate,
        metrics=(autoprune.Metric("f1", "1", lower_is_better=False, high=1.0),),
        forward=lambda model, batch: model(*batch) if model.training else model(batch[0]),
        loss=lambda losses, batch: sum(losses.values()),
    )
    train(made, epochs=20, rate=4e-3)
    return made
