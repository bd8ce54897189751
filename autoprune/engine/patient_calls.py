"""Calls that nobody waits for longer than a limit. Knows threads; not what is called."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class PatientCalls:
    """Calls one after the other in a thread of their own, which keeps no process alive that has ended."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = SimpleQueue()
        threading.Thread(target=self._run, daemon=True).start()

    def __call__(self, work: Callable[[], T], limit_s: float) -> T:
        """What the work returns or raises.

        Raises:
            TimeoutError: it, and what was called before it, was not done in so many seconds; it goes on by itself.
        """
        promised: Future[T] = Future()
        self._calls.put((work, promised))
        return promised.result(limit_s)

    def close(self) -> None:
        """End the thread, once what was called before has ended."""
        self._calls.put(None)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            work, promised = call
            try:
                promised.set_result(work())
            except BaseException as error:  # whoever waits for the result gets it
                promised.set_exception(error)
