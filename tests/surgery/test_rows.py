"""Rows of tables: off unless a space opens them; numbers of rows go on to be those of the whole table."""

import torch
from torch import nn
from torch.nn import functional

import autoprune
from autoprune.engine.prepare import prepare
from autoprune.surgery import apply, kept_slices

ROWS = autoprune.SpaceConfig(kinds=["row", "embedding", "neuron"], keep_ratios=[1.0, 0.5, 0.25], step=1, floor=2)


class Recommender(nn.Module):
    def __init__(self, **about):
        super().__init__()
        self.users, self.items = nn.Embedding(20, 8), nn.Embedding(40, 8, **about)
        self.words = nn.EmbeddingBag(30, 8, mode="mean")
        self.head = nn.Sequential(nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 2))

    def forward(self, users, items, words):
        return self.head(torch.cat([self.users(users) * self.items(items), self.words(words)], 1))


class Tied(nn.Module):
    """A table that is also what the results are made by."""

    def __init__(self):
        super().__init__()
        self.table, self.inner = nn.Embedding(24, 8), nn.Linear(8, 8)

    def forward(self, ids):
        return functional.linear(self.inner(self.table(ids)), self.table.weight)


def inputs(count=16):
    generator = torch.Generator().manual_seed(0)
    ids = [torch.randint(size, (count,), generator=generator) for size in (20, 40)]
    return (*ids, torch.randint(30, (count, 3), generator=generator))


def task_of(model, example):
    def evaluate(model, batches):
        return -float(sum(model(*batch[:-1]).square().mean() for batch in batches))

    batches = [(*example, torch.randint(2, (len(example[0]),)))]
    return autoprune.Task(
        name="rows", model=model, example_inputs=example, evaluate=evaluate,
        splits=dict.fromkeys(("train", "calibration", "search", "validation", "test"), batches),
        metrics=(autoprune.Metric("score", "1", lower_is_better=False, low=float("-inf")),),
        forward=lambda model, batch: model(*batch[:-1]),
        loss=lambda outputs, batch: functional.cross_entropy(outputs, batch[-1]),
    )  # fmt: skip


def opened(model, example, space=ROWS):
    return prepare(task_of(model.eval(), example), space).traced


def cut_rows(traced, model, **counts):
    ranking = {group.name: torch.rand(group.size) for group in traced.groups}
    slices = kept_slices(traced, ranking, autoprune.Plan.of(counts))
    return apply(model, traced, slices).eval(), slices


def test_rows_stay_whole_unless_they_are_opened():
    model, example = Recommender().eval(), inputs()
    traced = autoprune.trace(model, example)
    rows = [group for group in traced.groups if group.kind == "row"]
    assert [(group.name, group.size) for group in rows] == [("users", 20), ("items", 40), ("words", 30)]
    assert all(group.frozen_reason == "looked up by index" for group in rows)
    smaller = autoprune.prune(model, example, 0.5).model
    assert (smaller.items.num_embeddings, smaller.items.embedding_dim) == (40, 4)


def test_a_table_with_fewer_rows_is_asked_for_rows_of_the_whole():
    model, example = Recommender().eval(), inputs()
    traced = opened(model, example)
    cut, slices = cut_rows(traced, model, items=10, words=15)
    assert [cut.items.num_embeddings, cut.words.num_embeddings, cut.users.num_embeddings] == [10, 15, 20]
    with torch.no_grad():  # the same by hand: each row that is gone is the nearest one that is left
        for name, table in (("items", model.items), ("words", model.words)):
            kept, rows = slices[name], table.weight.clone()
            for row in range(len(rows)):
                nearest = kept[(rows[kept] - rows[row]).norm(dim=1).argmin()]
                table.weight[row] = rows[row] if row in kept.tolist() else rows[nearest]
        assert torch.allclose(cut(*example), model(*example), atol=1e-6)
    assert cut.items.places[slices["items"]].tolist() == list(range(10))


def test_rows_and_width_go_together_and_what_is_left_trains():
    model, example = Recommender().eval(), inputs()
    traced = opened(model, example)
    width = next(group.name for group in traced.open if group.kind == "embedding" and "items" in str(group.members))
    cut, _ = cut_rows(traced, model, items=10, **{width: 4})
    assert cut.items.weight.shape == (10, 4)
    cut.train()(*example).sum().backward()
    assert cut.items.weight.grad.abs().sum() > 0
    assert sum(p.numel() for p in cut.parameters()) < sum(p.numel() for p in model.parameters())


def test_rows_that_results_are_made_of_stay_whole():
    traced = opened(Tied(), (torch.randint(24, (4, 5)),))
    assert next(group for group in traced.groups if group.kind == "row").frozen_reason


def test_a_table_with_a_row_for_padding_stays_whole():
    traced = opened(Recommender(padding_idx=0), inputs())
    assert {group.name for group in traced.open if group.kind == "row"} == {"users", "words"}


def test_a_searched_model_with_fewer_rows_loads_from_its_folder(tmp_path):
    model, example = Recommender().eval(), inputs()
    effort = {"trials": 4, "sampler": "random", "finetune_epochs": 3, "finalists": 1, "schedule": "iterative"}
    rows = autoprune.SpaceConfig(kinds=["row"], keep_ratios=[1.0, 0.5, 0.25])
    result = autoprune.search(task_of(model, example), "params=90%", space=rows, run=tmp_path / "run", **effort)
    assert "failures" not in result.document
    table = result.best.load().items
    assert len(table.places) == 40
    assert table.num_embeddings == result.best.plan.kept.get("items", 40)
    folder = result.run / "models" / str(result.best.trial)
    other = autoprune.load(folder, model=Recommender(), example_inputs=example)  # with other weights: the file's count
    with torch.no_grad():
        assert torch.equal(result.best.load()(*example), other(*example))
