import threading

import pytest

from autoprune.core.cluster import Cluster
from autoprune.core.reporter import Silent
from autoprune.executors import inline


class Steps:
    """Each job is measured for as long as the next one has not begun; the last one, until all have."""

    overlaps = True

    def __init__(self, jobs):
        self.begun = [threading.Event() for _ in range(jobs + 1)]
        self.begun[jobs].set()
        self.together = []

    def __call__(self, job):
        raise AssertionError("work of three steps is done in three steps")

    def begin(self, job):
        self.begun[job].set()
        return job

    def measure(self, job):
        self.together.append(self.begun[job + 1].wait(timeout=20))
        return job

    def end(self, job):
        return f"result {job}"


def test_a_candidate_is_measured_while_the_next_one_is_worked_on():
    work = Steps(4)
    found = list(inline.create(Cluster(), "local", Silent()).drive(iter(range(4)), work))
    assert found == [f"result {k}" for k in range(4)]
    assert all(work.together)


def test_who_waits_for_a_result_gets_it_before_the_next_job():
    work, told = Steps(2), []

    def jobs():
        yield 0
        work.begun[1].set()
        yield None
        assert told == ["result 0"]
        yield 1

    for result in inline.create(Cluster(), "local", Silent()).drive(jobs(), work):
        told.append(result)
    assert told == ["result 0", "result 1"]


def test_what_ends_a_measurement_ends_the_drive():
    class Lost(Steps):
        def measure(self, job):
            raise ConnectionError("gone")

    with pytest.raises(ConnectionError, match="gone"):
        list(inline.create(Cluster(), "local", Silent()).drive(iter(range(3)), Lost(3)))


def test_work_that_does_not_overlap_is_done_one_after_the_other():
    class Plain:
        def __call__(self, job):
            return job * 2

    assert list(inline.create(Cluster(), "local", Silent()).drive(iter([1, None, 2]), Plain())) == [2, 4]
