"""Counters of a processor, from a kernel that writes its readings into pipes."""

import errno
import os
import struct
import sys
import time

import pytest
import torch
from torch import nn

from autoprune.api import hardware_counters as api
from autoprune.api.profile import Subject
from autoprune.bench.hardware_counters import EVENTS, counting, open_event
from autoprune.core.measurement import RunSpec
from autoprune.errors import DeviceError

#: PERF_TYPE_SOFTWARE, PERF_COUNT_SW_TASK_CLOCK
_SOFTWARE, _TASK_CLOCK = 1, 1
NAMES = {place: name for name, place in EVENTS.items()}


class Kernel:
    """Gives the same readings (count, wanted, counted) of an event to each thread: one before, one after."""

    def __init__(self, **readings):
        self.readings, self.opened = readings, []

    def __call__(self, event, thread):
        read, write = os.pipe()
        for reading in self.readings[NAMES[event]]:
            os.write(write, struct.pack("=QQQ", *reading))
        os.close(write)
        self.opened.append((event, thread, read))
        return read


def test_counts_are_scaled_to_the_time_and_added_up_over_threads():
    kernel = Kernel(
        cycles=[(100, 10, 10), (1100, 1010, 1010)],
        instructions=[(0, 0, 0), (3000, 1000, 500)],  # it had a counter half of the time
        cache_references=[(5, 1, 1), (55, 101, 101)],
        cache_misses=[(7, 1, 0), (7, 101, 0)],  # it never had one
    )
    with counting(kernel) as read:
        found = read()
    threads = len({thread for _, thread, _ in kernel.opened})
    assert threads >= 1
    assert found == {
        "cycles": 1000.0 * threads, "instructions": 6000.0 * threads, "cache_references": 50.0 * threads,
        "cache_misses": 0.0,
    }  # fmt: skip
    for *_, file in kernel.opened:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(file)


@pytest.mark.parametrize(
    ("code", "cure"),
    [(errno.EACCES, "perf_event_paranoid=2"), (errno.EPERM, "CAP_PERFMON"), (errno.ENOENT, "virtual ones")],
)
def test_a_kernel_that_does_not_count_is_named_with_what_it_said(code, cure):
    def refuses(event, thread):
        raise OSError(code, os.strerror(code))

    with pytest.raises(DeviceError, match="count cycles by perf_event_open") as failed, counting(refuses):
        pass
    assert os.strerror(code) in failed.value.received
    assert cure in failed.value.cure


@pytest.mark.skipif(sys.platform != "linux", reason="perf_event_open is Linux's")
def test_the_machines_own_kernel_is_asked_as_it_wants_to_be():
    """Processor time is an event of the kernel's own, which virtual machines have, too."""
    try:
        with counting(lambda event, thread: open_event(_TASK_CLOCK, thread, _SOFTWARE)) as read:
            start = time.thread_time_ns()
            while time.thread_time_ns() - start < 5_000_000:
                pass
            found = read()
    except DeviceError as refused:
        pytest.skip(str(refused))  # a container that may not
    assert 5_000_000 <= found["cycles"] < 500_000_000


def test_a_profile_of_counters_is_of_one_run(monkeypatch):
    monkeypatch.setattr(api, "_SECONDS", 0.0)
    kernel = Kernel(**{name: [(0, 0, 0), (10 * place, 9, 9)] * 2 for place, name in enumerate(EVENTS, start=1)})
    found = api.hardware_counters(Subject(nn.Linear(4, 4), torch.zeros(1, 4)), "torch", RunSpec(), opens=kernel)
    assert found.runs == 5
    assert found.instructions_per_cycle == 2.0
    assert found.miss_rate == pytest.approx(4 / 3)
    assert found.cycles % 2.0 == 0.0  # ten of each thread, over five runs
