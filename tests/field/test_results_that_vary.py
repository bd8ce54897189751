"""Models whose results depend in number on values: detectors with thresholds and suppression, predicted durations."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import autoprune
from autoprune.surgery.coverage import coverage

VARY, NOTHING = "how many results there are depends on values", "lead to no results"


def block(inputs, outputs):
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, 2, 1), nn.BatchNorm2d(outputs), nn.ReLU())


def images(seed=0, count=1):
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


class Thresholded(nn.Module):
    """Boxes whose score exceeds a threshold; `way` is how they are taken out."""

    def __init__(self, way, threshold=0.5):
        super().__init__()
        self.way, self.threshold = way, threshold
        self.trunk = nn.Sequential(block(3, 16), block(16, 32), nn.Conv2d(32, 16, 1))
        self.scores, self.boxes = nn.Conv2d(16, 1, 1), nn.Conv2d(16, 4, 1)

    def forward(self, x):
        x = self.trunk(x)
        scores, boxes = self.scores(x).flatten(), self.boxes(x)[0].flatten(1).t()
        scores = (scores - scores.mean()).sigmoid()
        return getattr(self, self.way)(scores, boxes, scores > self.threshold)

    def mask(self, scores, boxes, found):
        return boxes[found], scores[found]

    def nonzero(self, scores, boxes, found):
        places = found.nonzero().squeeze(1)
        return {"boxes": boxes[places], "scores": scores[places]}

    def select(self, scores, boxes, found):
        return torch.masked_select(scores, found)

    def repeat(self, scores, boxes, found):
        return torch.repeat_interleave(boxes, found.long() * 2, dim=0)

    def best(self, scores, boxes, found):
        scores, places = scores[found].topk(min(40, int(found.sum())))
        return scores, boxes[found][places]

    def first(self, scores, boxes, found):
        return boxes[: int(found.sum())]

    def each(self, scores, boxes, found):
        return [box for box, good in zip(boxes, found, strict=True) if good]


WAYS = ("mask", "nonzero", "select", "repeat", "best", "first", "each")


def thresholded(*options):
    torch.manual_seed(1)
    return Thresholded(*options).eval()


@pytest.mark.parametrize("way", WAYS)
def test_a_threshold_does_not_keep_a_detector_whole(way):
    model = thresholded(way)
    pruned = autoprune.prune(model, images(), 0.5)
    assert coverage(model, pruned.traced).params > 0.95
    assert pruned.after["params"].value < 0.3 * pruned.before["params"].value
    assert any(VARY in note for note in pruned.traced.notes)
    for seed in range(10):
        pruned.model(images(seed))


@pytest.mark.parametrize("way", WAYS)
def test_an_example_without_detections_is_told(way):
    pruned = autoprune.prune(thresholded(way, 0.9999), images(), 0.5)
    assert any(NOTHING in note for note in pruned.traced.notes)
    assert NOTHING in pruned.summary()


class Dealt(Thresholded):
    """Channels are weighted by their number, where no watcher sees it."""

    def forward(self, x):
        x = self.trunk[0](x).detach().numpy()
        x = torch.from_numpy((x * np.arange(x.shape[1])[:, None, None]).astype("float32"))
        x = self.trunk[2](self.trunk[1](x))
        scores, boxes = self.scores(x).flatten(), self.boxes(x)[0].flatten(1).t()
        scores = (scores - scores.mean()).sigmoid()
        return self.mask(scores, boxes, scores > self.threshold)


@pytest.mark.parametrize("threshold", [0.5, 0.9999])
def test_what_proofs_refuse_they_also_refuse_without_detections(threshold):
    torch.manual_seed(0)
    traced = autoprune.trace(Dealt("mask", threshold).eval(), images())
    reasons = {group.name: group.frozen_reason for group in traced}
    assert reasons["trunk.0.0"]
    assert not reasons["trunk.2"]


class Wrong(Thresholded):
    """How many channels it returns follows what was cut, and no value."""

    def forward(self, x):
        x = self.trunk(x)
        return self.boxes(x), torch.from_numpy(x.numpy().copy())


def test_sizes_that_follow_what_was_cut_are_still_refused():
    torch.manual_seed(0)
    traced = autoprune.trace(Wrong("mask").eval(), images())
    assert {group.name: group.frozen_reason for group in traced}["trunk.2"]
    assert not any(VARY in note for note in traced.notes)


def suppressed(boxes, scores, overlap):
    """Non-maximum suppression: of boxes that overlap, the best stays."""
    order, kept = scores.argsort(descending=True), []
    while len(order):
        kept.append(order[0])
        best, others = boxes[order[0]], boxes[order[1:]]
        sides = torch.minimum(best[2:], others[:, 2:]) - torch.maximum(best[:2], others[:, :2])
        common = sides.clamp(min=0).prod(1)
        area = [(each[..., 2:] - each[..., :2]).prod(-1) for each in (best, others)]
        order = order[1:][common / (area[0] + area[1] - common) <= overlap]
    return torch.stack(kept) if kept else order


class Fcos(nn.Module):
    """Anchor-free detection on a pyramid (Tian et al. 2019), with its post-processing."""

    def __init__(self, classes=3):
        super().__init__()
        self.classes, self.low, self.high = classes, nn.Sequential(block(3, 16), block(16, 32)), block(32, 32)
        self.lateral = nn.ModuleList([nn.Conv2d(32, 16, 1), nn.Conv2d(32, 16, 1)])
        self.towers = nn.ModuleList(
            nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1), nn.GroupNorm(4, 16), nn.ReLU()) for _ in range(2)
        )
        self.scores, self.sides, self.centred = (nn.Conv2d(16, size, 3, 1, 1) for size in (classes, 4, 1))

    def forward(self, images):
        low = self.low(images)
        high = self.high(low)
        top = self.lateral[1](high)
        levels = [self.lateral[0](low) + functional.interpolate(top, scale_factor=2), top]
        return [self.detected([level[place : place + 1] for level in levels]) for place in range(len(images))]

    def detected(self, levels):
        found = [self.candidates(level, 4 * 2**number) for number, level in enumerate(levels)]
        boxes, scores, labels = (torch.cat(each) for each in zip(*found, strict=True))
        apart = boxes + labels[:, None] * 1000.0
        kept = suppressed(apart, scores, 0.6)[:20]
        return {"boxes": boxes[kept], "scores": scores[kept], "labels": labels[kept]}

    def candidates(self, level, stride):
        what, where = self.towers[0](level), self.towers[1](level)
        rows, columns = torch.meshgrid(*(torch.arange(size) for size in level.shape[-2:]), indexing="ij")
        points = torch.stack([columns, rows], -1).reshape(-1, 2) * float(stride)
        sides = functional.relu(self.sides(where)).permute(0, 2, 3, 1).reshape(-1, 4) * stride + 1
        centred = self.centred(where).permute(0, 2, 3, 1).reshape(-1, 1).sigmoid()
        scores = self.scores(what).permute(0, 2, 3, 1).reshape(-1, self.classes).sigmoid()
        scores = (scores * centred).sqrt().flatten()
        places = torch.where(scores > 0.55)[0]
        scores, order = scores[places].topk(min(30, len(places)))
        place, label = places[order] // self.classes, places[order] % self.classes
        return torch.cat([points[place] - sides[place, :2], points[place] + sides[place, 2:]], 1), scores, label


def test_a_detector_with_its_post_processing_is_cut():
    torch.manual_seed(0)
    model = Fcos().eval()
    pruned = autoprune.prune(model, images(count=2), 0.5)
    assert coverage(model, pruned.traced).params > 0.95
    assert pruned.after["params"].value < 0.3 * pruned.before["params"].value
    assert [len(pruned.model(images(seed, 2))) for seed in range(5)] == [2] * 5


class Spoken(nn.Module):
    """Speech of a length that the model predicts: each input is repeated, or spread by a matrix, for so many frames."""

    def __init__(self, way):
        super().__init__()
        self.way, self.table, self.encoder = way, nn.Embedding(20, 16), nn.Conv1d(16, 32, 3, padding=1)
        self.duration, self.decoder, self.out = (
            nn.Conv1d(32, 1, 1),
            nn.Conv1d(32, 16, 3, padding=1),
            nn.Conv1d(16, 1, 1),
        )

    def forward(self, ids):
        x = functional.relu(self.encoder(self.table(ids).transpose(1, 2)))
        frames = (self.duration(x).exp() * 2).ceil().long()[0, 0].clamp(1, 6)
        return self.out(functional.relu(self.decoder(getattr(self, self.way)(x, frames))))

    def repeated(self, x, frames):
        return torch.repeat_interleave(x, frames, dim=2)

    def spread(self, x, frames):
        ends, times = frames.cumsum(0), torch.arange(frames.sum())
        path = (times < ends[:, None]) & (times >= (ends - frames)[:, None])
        return x @ path.float()


@pytest.mark.parametrize("way", ["repeated", "spread"])
def test_a_length_that_is_predicted_does_not_keep_a_synthesiser_whole(way):
    torch.manual_seed(0)
    model, ids = Spoken(way).eval(), torch.randint(0, 20, (1, 9))
    pruned = autoprune.prune(model, ids, 0.5)
    assert coverage(model, pruned.traced).params > 0.95
    assert [pruned.model(ids[:, :count]).shape[:2] for count in (1, 5, 9)] == [(1, 1)] * 3


def test_results_without_numbers_are_told():
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3)).eval()
    model[2].bias.data.fill_(torch.nan)
    traced = autoprune.trace(model, torch.randn(4, 8))
    assert any("lead to nan or infinity alone" in note for note in traced.notes)
    assert traced.open
