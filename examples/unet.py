"""A U-Net that segments: which digit does each pixel belong to?

autoprune search examples/unet.py:task --budget latency=60%

The quality is the mean intersection over union of the classes; skips tie widths of both arms of the network.
"""

import torch
from scenes import canvases
from torch import nn
from torch.nn import functional
from training import train

import autoprune

CLASSES = 11  # ten digits and the background


def double(consumed, produced):
    layers = []
    for width in (consumed, produced):
        layers += [nn.Conv2d(width, produced, 3, 1, 1, bias=False), nn.BatchNorm2d(produced), nn.ReLU()]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """Images (N, 1, H, W) to logits (N, classes, H, W) (Ronneberger et al. 2015)."""

    def __init__(self, widths=(16, 32, 64)):
        super().__init__()
        first, second, third = widths
        self.down1, self.down2, self.bottom = double(1, first), double(first, second), double(second, third)
        self.up2, self.up1 = nn.ConvTranspose2d(third, second, 2, 2), nn.ConvTranspose2d(second, first, 2, 2)
        self.left2, self.left1 = double(2 * second, second), double(2 * first, first)
        self.head = nn.Conv2d(first, CLASSES, 1)

    def forward(self, x):
        one = self.down1(x)
        two = self.down2(functional.max_pool2d(one, 2))
        low = self.bottom(functional.max_pool2d(two, 2))
        two = self.left2(torch.cat([self.up2(low), two], 1))
        return self.head(self.left1(torch.cat([self.up1(two), one], 1)))


def labelled(split):
    """Batches of (images, labels (N, H, W)): a digit's label within its box, where it has ink."""
    found = []
    for images, targets in canvases(split):
        labels = torch.full((len(images), *images.shape[2:]), CLASSES - 1)
        for label, image, target in zip(labels, images, targets, strict=True):
            for box, digit in zip(target["boxes"].long(), target["labels"], strict=True):
                left, top, right, bottom = box.tolist()
                inked = image[0, top:bottom, left:right] > 0.4
                label[top:bottom, left:right][inked] = digit
        found.append((images, labels))
    return found


def evaluate(model, batches):
    counts, losses = torch.zeros(CLASSES, CLASSES), []
    for images, labels in batches:
        logits = model(images)
        losses.append(float(functional.cross_entropy(logits, labels)))
        cells = labels.flatten() * CLASSES + logits.argmax(1).flatten()
        counts += torch.bincount(cells, minlength=CLASSES**2).view(CLASSES, CLASSES)
    hits = counts.diagonal()
    return {"miou": float((hits / (counts.sum(0) + counts.sum(1) - hits)).mean()), "loss": sum(losses) / len(losses)}


def task():
    torch.manual_seed(0)
    made = autoprune.Task(
        name="unet",
        model=UNet(),
        example_inputs=(labelled("calibration")[0][0][:4],),
        splits=lambda: {name: labelled(name) for name in ("train", "calibration", "search", "validation", "test")},
        evaluate=evaluate,
        metrics=(
            autoprune.Metric("miou", "1", lower_is_better=False, high=1.0),
            autoprune.Metric("loss", "1", lower_is_better=True),
        ),
        loss=lambda logits, batch: functional.cross_entropy(logits, batch[1]),
        distance=functional.mse_loss,
    )
    train(made, epochs=15, rate=4e-3)
    return made
