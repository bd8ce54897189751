"""What every executor must do. Inherit `ExecutorConformance` in a test class and set `name`, or override `made`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

from autoprune import registry
from autoprune.core.address import HERE
from autoprune.core.cluster import Cluster
from autoprune.core.reporter import Silent
from autoprune.executors import Executor


class Doubling:
    """Work that can go to another process."""

    def __call__(self, job: int) -> int:
        return 2 * job

    def lost(self, job: int, reason: str) -> int:
        """The result of a job whose worker died each time."""
        raise AssertionError(f"nobody dies here, but job {job} was lost: {reason}")


class ExecutorConformance:
    """Every result once, jobs drawn when there is room, and a None that waits for a result."""

    name: str

    def made(self) -> Executor:
        """The executor, on this machine, with the workers that it takes by itself."""
        executor: Executor = registry.load("executors", self.name).create(Cluster(), HERE, Silent())
        return executor

    def test_every_job_has_one_result(self) -> None:
        with closing(self.made()) as executor:
            assert sorted(executor.drive(iter(range(9)), Doubling())) == [2 * job for job in range(9)]

    def test_jobs_are_drawn_when_there_is_room_for_one(self) -> None:
        drawn, told = list[int](), list[Any]()
        with closing(self.made()) as executor:

            def jobs() -> Iterator[int]:
                for job in range(9):
                    assert len(drawn) - len(told) <= executor.workers
                    drawn.append(job)
                    yield job

            for result in executor.drive(jobs(), Doubling()):
                told.append(result)
        assert len(told) == 9

    def test_after_a_none_the_next_job_comes_when_a_result_was_taken(self) -> None:
        told: list[Any] = []
        with closing(self.made()) as executor:

            def jobs() -> Iterator[int | None]:
                yield 1
                while not told:
                    yield None
                yield 2

            for result in executor.drive(jobs(), Doubling()):
                told.append(result)
        assert told == [2, 4]

    def test_work_can_be_driven_again(self) -> None:
        with closing(self.made()) as executor:
            for _ in range(2):
                assert list(executor.drive(iter([3]), Doubling())) == [6]
