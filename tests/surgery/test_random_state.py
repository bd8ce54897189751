"""Random numbers are lent, and given back."""

from contextlib import nullcontext

import torch

from autoprune.surgery.random_state import forked_random


def test_a_seed_draws_the_same_numbers_and_the_callers_go_on():
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    drawn = []
    for _ in range(2):
        with forked_random(3):
            drawn.append(torch.rand(2))
    assert torch.equal(*drawn)
    assert torch.equal(torch.rand(2), expected)


def test_states_of_accelerators_are_kept_too(monkeypatch):
    kept = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.random, "fork_rng", lambda devices: kept.extend(devices) or nullcontext())
    with forked_random():
        pass
    assert kept == [0, 1]
