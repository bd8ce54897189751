"""Single weights that change places in training (RigL)."""

import gc
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim import optimizer as optimizers

import autoprune
from autoprune.core.plan import Plan
from autoprune.search_spaces.pattern import Pattern
from autoprune.surgery import trace
from autoprune.surgery.sparsity import mask, with_weights
from autoprune.training.exchange import exchanged
from autoprune.training.schedules import Exchange, Phase
from autoprune.training.timeline import exchanged_at
from tests.training.own_loop import Net, X, adam, batches, outputs, trained


def traced(pattern):
    """Of a linear layer; sizes are no matter here."""
    model = nn.Linear(8, 8, bias=False)
    return with_weights(model, trace(model, torch.randn(2, 8)), pattern)


TRACED = {pattern: traced(pattern) for pattern in ("unstructured", "2:4", "1:4", "4x4")}


def blocks(kept):
    """Of 4 x 4, at the edges what there is of them."""
    return [part.flatten().tolist() for strip in kept.split(4) for part in strip.split(4, dim=1)]


@given(
    st.sampled_from(sorted(TRACED)),
    st.integers(1, 9),
    st.integers(1, 5),
    st.floats(0.05, 0.95),
    st.floats(0.01, 0.99),
    st.integers(0, 99),
)
def test_counts_and_patterns_are_conserved_and_what_comes_has_the_largest_gradients(
    pattern, rows, fours, keep, share, seed
):
    torch.manual_seed(seed)
    weight, gradient = torch.randn(2, rows, 4 * fours)
    before = mask(weight.abs(), 1, Pattern.parse(pattern), keep)
    after = exchanged(TRACED[pattern], {"weight": before}, {"weight": weight}, {"weight": gradient}, share)["weight"]
    if ":" in pattern:
        assert (after.view(rows, fours, 4).sum(2) == int(pattern[0])).all()
    elif pattern == "4x4":
        assert all(len(set(block)) == 1 for block in blocks(after))
        assert sum(map(any, blocks(after))) == sum(map(any, blocks(before)))
    else:
        count = int(before.sum())
        assert int(after.sum()) == count
        assert int((before & after).sum()) >= max(math.floor((1 - share) * count), 1)
        come, left = gradient.abs()[after & ~before], gradient.abs()[~after]
        assert not len(come) or not len(left) or come.min() >= left.max()


def test_the_share_falls_along_a_cosine_and_ends_before_training_does():
    phase = Phase(plan=Plan(()), epochs=1000, exchange=Exchange(share=0.3, until=0.75, times=12))
    shares = {step: share for step in range(1000) if (share := exchanged_at(phase, step, 1000))}
    assert len(shares) == 11  # the first time is the beginning, when nothing has a gradient
    assert max(shares) < 750
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    first = min(shares)
    assert shares[first] == pytest.approx(0.15 * (1 + torch.cos(torch.tensor(torch.pi * first / 750)).item()))
    assert [exchanged_at(phase, step, 4) > 0 for step in range(4)] == [False, True, True, False]


def test_weights_change_places_in_a_loop_of_ones_own_and_their_number_stays():
    model = Net()
    pruner = autoprune.Pruner(model, X, keep=0.2, pattern="unstructured", schedule="sparse", steps=36)
    optimizer, places = adam(model), []
    for step in range(36):
        trained(model, pruner, 1, optimizer, start=step)
        places.append(model.conv2.weight != 0)
    count = round(0.2 * model.conv2.weight.numel())
    assert all(int(each.sum()) <= count for each in places)
    assert int(places[-1].sum()) == count
    ever = torch.stack(places).any(0)
    assert int(ever.sum()) > 1.2 * count
    assert all(torch.equal(each, places[27]) for each in places[28:])
    assert torch.allclose(outputs(pruner.finish().model), outputs(model), atol=1e-5)


def test_what_comes_is_where_the_loss_would_fall_most_steeply():
    model = Net()
    options = {"exchange": "0.5", "times": "2", "until": "0.9"}
    pruner = autoprune.Pruner(
        model, X, keep=0.2, pattern="unstructured", schedule="sparse", schedule_options=options, steps=8
    )
    optimizer = trained(model, pruner, 3)
    before = model.conv2.weight != 0
    twin, (x, labels) = Net(), list(batches(4))[3]
    twin.load_state_dict(model.state_dict())
    nn.functional.cross_entropy(twin.train()(x), labels).backward()
    trained(model, pruner, 1, optimizer, start=3)
    trained(model, pruner, 1, optimizer, start=4)  # what came was zero until it was trained
    come = (model.conv2.weight != 0) & ~before
    steepness = twin.conv2.weight.grad.abs()
    assert int(come.sum()) > 0
    assert float(steepness[come].min()) >= float(steepness[~come & ~before].max())


def test_nothing_is_left_behind_when_a_pruner_is_given_up():
    before = len(optimizers._global_optimizer_post_hooks)
    pruner = autoprune.Pruner(Net(), X, keep=0.2, pattern="unstructured", schedule="sparse", steps=6)
    assert len(optimizers._global_optimizer_post_hooks) == before + 1
    del pruner
    gc.collect()
    assert len(optimizers._global_optimizer_post_hooks) == before


def test_steps_without_an_optimizer_of_torch_are_told():
    model = Net()
    pruner = autoprune.Pruner(model, X, keep=0.2, pattern="unstructured", schedule="sparse", steps=6)
    for _ in range(6):
        pruner.step()
    assert any("no optimizer of torch stepped" in note for note in pruner.finish().notes)


def test_what_has_no_mask_or_no_gradient_stays_as_it_is():
    weight = {"weight": torch.randn(4, 8)}
    assert exchanged(TRACED["unstructured"], {"weight": weight["weight"] > 0}, weight, {}, 0.3) == {}
    assert exchanged(TRACED["unstructured"], {}, weight, weight, 0.3) == {}


def test_weights_without_a_gradient_stay_where_they_are():
    torch.manual_seed(0)
    weight = torch.randn(8, 8)
    before = mask(weight.abs(), 1, Pattern.parse("unstructured"), 0.5)
    after = exchanged(TRACED["unstructured"], {"weight": before}, {"weight": weight}, {"weight": 0 * weight}, 0.3)
    assert torch.equal(after["weight"], before)
