"""Torch's random numbers, lent and given back. Knows generators, those of accelerators too; not who draws from them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def forked_random(seed: int | None = None) -> Iterator[None]:
    """Whatever is drawn inside, the caller's random numbers go on as if nothing had been.

    `torch.manual_seed` seeds accelerators as well, so that their states are kept too.

    Args:
        seed: From which numbers are drawn inside; None: from the caller's state.
    """
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        if seed is not None:
            torch.manual_seed(seed)
        yield
