"""A recommender of the kind of DLRM: will this user like that item? (Naumov et al. 2019)

    autoprune search examples/real/recommender.py:task --budget latency=50%
    autoprune search examples/real/recommender.py:task --budget size=30% --space tables

Tables of users, items and hours, whose vectors meet in products with what is known of a visit. The visits are drawn:
a few users and items come often and most seldom (Zipf 1949), tastes are vectors, items are of kinds. So nobody's data
is needed, and the best score that anybody can reach is known: an area of .839. Trained in a minute or so the first
time.
"""

import torch
from kept import once, trained
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn import functional

import autoprune

USERS, ITEMS, HOURS, FACTS = 600, 1500, 24, 8
EPOCHS, RATE, BATCH = 2, 4e-3, 256
COUNTS = {"train": 160_000, "calibration": 1024, "search": 4096, "validation": 8192, "test": 16_384}


def draw():
    """Visits: ids of user, item and hour (N, 3), facts (N, 8), whether it was liked (N,), and how likely that was."""
    generator = torch.Generator().manual_seed(0)
    count = sum(COUNTS.values())

    def popular(size):
        weights = 1 / torch.arange(1, size + 1).double() ** 0.9
        ranked = torch.multinomial(weights, count, replacement=True, generator=generator)
        return torch.randperm(size, generator=generator)[ranked]

    users, items = popular(USERS), popular(ITEMS)
    hours = torch.randint(HOURS, (count,), generator=generator)
    facts = torch.randn(count, FACTS, generator=generator)
    kinds = torch.randn(12, 6, generator=generator)  # items are of kinds, about which tastes agree
    likes, traits = torch.randn(USERS, 6, generator=generator), kinds[torch.randint(12, (ITEMS,), generator=generator)]
    traits = traits + 0.5 * torch.randn(ITEMS, 6, generator=generator)
    drawn = (likes[users] * traits[items]).sum(1) / 6**0.5 + 0.5 * torch.randn(ITEMS, generator=generator)[items]
    clock = torch.sin(2 * torch.pi * hours / HOURS + traits[items, 0]) + facts[:, 0] * facts[:, 1].tanh()
    chance = torch.sigmoid(1.5 * drawn + 0.7 * clock - 0.5)
    liked = torch.rand(count, generator=generator) < chance
    return {"ids": torch.stack([users, items, hours], 1), "facts": facts, "liked": liked.float(), "chance": chance}


class Recommender(nn.Module):
    """Ids (N, 3) and facts (N, 8) to logits (N,)."""

    def __init__(self, width=32):
        super().__init__()
        self.users, self.items, self.hours = (nn.Embedding(size, width) for size in (USERS, ITEMS, HOURS))
        for table in (self.users, self.items, self.hours):
            nn.init.normal_(table.weight, std=0.1)
        self.facts = nn.Sequential(nn.Linear(FACTS, 64), nn.ReLU(), nn.Linear(64, width), nn.ReLU())
        self.head = nn.Sequential(nn.Linear(width + 6, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, ids, facts):
        known = self.facts(facts)
        user, item, hour = self.users(ids[:, 0]), self.items(ids[:, 1]), self.hours(ids[:, 2])
        pairs = ((user, item), (user, hour), (user, known), (item, hour), (item, known), (hour, known))
        met = torch.stack([(one * other).sum(1) for one, other in pairs], 1)
        return self.head(torch.cat([known, met], 1))[:, 0]


def evaluate(model, batches):
    logits, liked = (torch.cat(each) for each in zip(*((model(*b[:2]), b[2]) for b in batches), strict=True))
    loss = functional.binary_cross_entropy_with_logits(logits, liked)
    return {"auc": float(roc_auc_score(liked, logits)), "loss": float(loss)}


def visits():
    """Batches of (ids, facts, liked) by split."""
    found = once("recommender", draw)
    parts = zip(*(found[key].split([*COUNTS.values()]) for key in ("ids", "facts", "liked")), strict=True)
    return {
        name: list(zip(*(each.split(BATCH) for each in part), strict=True))
        for name, part in zip(COUNTS, parts, strict=True)
    }


def task():
    torch.manual_seed(0)
    ids = torch.stack([torch.randint(size, (BATCH,)) for size in (USERS, ITEMS, HOURS)], 1)
    made = autoprune.Task(
        name="recommender",
        model=Recommender(),
        example_inputs=(ids, torch.randn(BATCH, FACTS)),
        splits=visits,
        evaluate=evaluate,
        metrics=(
            autoprune.Metric("auc", "1", lower_is_better=False, high=1.0),
            autoprune.Metric("loss", "1", lower_is_better=True),
        ),
        forward=lambda model, batch: model(*batch[:2]),
        loss=lambda logits, batch: functional.binary_cross_entropy_with_logits(logits, batch[2]),
        distance=functional.mse_loss,
    )
    trained(made, EPOCHS, RATE)
    return made
