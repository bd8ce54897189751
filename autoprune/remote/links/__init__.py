"""Ways to a process that measures. Knows the contract; each file beside this one is one way.

    process   a child of this process
    ssh       a process on another machine, through its sshd
    http      a lease at an `autoprune agent`

At the other end is always `autoprune.remote.worker`, and what it is told and answers is the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Final, Protocol

from autoprune import errors
from autoprune.errors import AutopruneError, DeviceError, one_line

#: Threads that wait by spinning would disturb the very thing that is measured.
PASSIVE: Final = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "0",
    "KMP_BLOCKTIME": "0",
    "OPENBLAS_NUM_THREADS": "1",
}
#: What libraries say that end a process because they got no memory.
_STARVED: Final = ("Thread creation failed", "bad_alloc", "Cannot allocate memory")


class Link(Protocol):
    """One process that measures, from its start to its end; one request at a time."""

    def start(self, opening: Mapping[str, Any]) -> None:
        """Begin to open; returns before that is done."""
        ...

    def opened(self, limit_s: float) -> dict[str, Any]:
        """What the process says of itself, once it has opened."""
        ...

    def lent(self, blobs: Mapping[str, bytes]) -> AbstractContextManager[None]:
        """Bytes by their SHA-256, there for requests that name them."""
        ...

    def ask(self, request: Mapping[str, Any], limit_s: float) -> Any:
        """The answer to a request.

        Raises:
            CrashedError, ExhaustedError, TimedOutError: the process is gone, for that reason.
            UnreachableError: nobody knows what became of it.
            AutopruneError: the request failed; the process lives.
        """
        ...

    def alive(self) -> bool:
        """Whether it may be asked again."""
        ...

    def close(self) -> None:
        """End the process and whatever it started."""
        ...


def answer(line: Callable[[], str], close: Callable[[], None], waits: Callable[[str], None]) -> Any:
    """What a process answers, line by line, until it does not say that it waits for a device that another one has.

    line: the next one; close: ends the link where this is interrupted, as the answer would be taken for the next one;
    waits: told who has the device.
    """
    try:
        while "waiting" in (reply := read_reply(line())):
            waits(str(reply["waiting"]))
        return result_of(reply)
    except AutopruneError:
        raise
    except BaseException:
        close()
        raise


def read_reply(line: str) -> dict[str, Any]:
    """An answer of the process.

    Raises:
        DeviceError: something else came.
    """
    try:
        reply = json.loads(line)
    except ValueError as error:
        raise DeviceError(
            expected="an answer as JSON from the process that measures",
            received=one_line(line, 100),
            cure="check what the task prints",
        ) from error
    return reply if isinstance(reply, dict) else {"ok": reply}


def result_of(reply: Mapping[str, Any]) -> Any:
    """What was asked for, or the same error as in the other process, of the same type."""
    if "error" not in reply:
        return reply["ok"]
    raw = reply["error"]
    kind = getattr(errors, raw["kind"], DeviceError)
    kind = kind if isinstance(kind, type) and issubclass(kind, AutopruneError) else DeviceError
    raise kind(expected=raw["expected"], received=raw["received"], cure=raw["cure"])


def told(error: AutopruneError) -> dict[str, str]:
    """An error as a message that `result_of` understands."""
    return {
        "kind": type(error).__name__,
        "expected": error.expected,
        "received": error.received,
        "cure": error.cure,
    }


def death(profiler: str, how: str, said: str, *, killed: bool) -> DeviceError:
    """What the end of a process means. how: it ended; said: its last words; killed: by the kernel or by somebody."""
    lines = [line for line in said.splitlines() if line.strip()]
    if killed or any(word in said for word in _STARVED):
        return errors.ExhaustedError(
            expected="a model that fits the memory",
            received=f"the process that measures ended ({how}), as it does where memory is used up",
            cure="prune more, or measure a smaller batch",
        )
    return errors.CrashedError(
        expected=f"{profiler} to run the model",
        received=f"the process that measures died ({how}){': ' + one_line(lines[-1], 200) if lines else ''}",
        cure="run the model on its example inputs alone",
    )


def overdue(what: str, limit_s: float) -> errors.TimedOutError:
    """No answer in time."""
    return errors.TimedOutError(
        expected=f"the process that measures {what} within {limit_s:.0f} s",
        received="no answer, so it was ended",
        cure="look for what never returns in the model, or measure a smaller batch",
    )
