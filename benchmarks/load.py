"""A load generator that stands in for a restless machine: it takes a known share of every processor.

One process a core, of a higher priority where the system allows that, works for a part of every tenth of a second or
so. `cost.py --steal` starts it; it ends after an hour at the latest.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import time
from collections.abc import Iterator

PERIOD_S, AT_MOST_S = 0.1, 3600.0


def _work(core: int, share: float) -> None:
    with contextlib.suppress(OSError, AttributeError):
        os.sched_setaffinity(0, {core})
    with contextlib.suppress(OSError):
        os.nice(-10)
    draw, end, parent = random.Random(core), time.monotonic() + AT_MOST_S, os.getppid()
    while time.monotonic() < end and os.getppid() == parent:  # it ends with who asked for it, however that ends
        period = PERIOD_S * draw.uniform(0.5, 1.5)
        until = time.monotonic() + share * period
        while time.monotonic() < until:
            pass
        time.sleep((1 - share) * period)


@contextlib.contextmanager
def stolen(percent: float) -> Iterator[None]:
    """Take so many per cent of every processor that this process may use, until the end of the block."""
    context = multiprocessing.get_context("spawn")
    cores = sorted(os.sched_getaffinity(0)) if percent else []
    workers = [context.Process(target=_work, args=(core, percent / 100), daemon=True) for core in cores]
    for worker in workers:
        worker.start()
    try:
        yield
    finally:
        for worker in workers:
            worker.terminate()
