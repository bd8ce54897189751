"""The error tree. Knows exit codes and the one-line form; knows nothing about where errors arise.

Every error says what was expected, what was received and what to do about it, in one line.
"""

from __future__ import annotations

from typing import Any


class AutopruneError(Exception):
    """Base of all errors a user may see; `exit_code` is what the command line exits with."""

    exit_code = 1

    def __init__(self, *, expected: str, received: str, cure: str) -> None:
        self.expected, self.received, self.cure = expected, received, cure
        super().__init__(one_line(f"expected {expected}; received {received}; {cure}"))

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors come back from other processes as they were raised there."""
        return _again, (type(self), self.expected, self.received, self.cure)


def _again(kind: type[AutopruneError], expected: str, received: str, cure: str) -> AutopruneError:
    return kind(expected=expected, received=received, cure=cure)


class UsageError(AutopruneError):
    """An argument, option, plan or specification file that cannot be understood or obeyed."""

    exit_code = 2


class BudgetInfeasibleError(AutopruneError):
    """No candidate meets the budget; the message names the best possible value."""

    exit_code = 3


class TaskError(AutopruneError):
    """The user's model, data or metric cannot be used."""

    exit_code = 4


class SurgeryError(TaskError):
    """A model that cannot be traced or cut, or in which nothing may be cut."""


class DeviceError(AutopruneError):
    """A device or profiler that is missing, unreachable, or failed while measuring."""

    exit_code = 5


class CrashedError(DeviceError):
    """The process that measured died: of the model, of the runtime, or because somebody killed it."""


class TimedOutError(DeviceError):
    """The process that measured gave no answer in time, and was killed."""


class DeviceLostError(DeviceError):
    """The device is gone for good: nothing more can be measured on it in this search."""


class UnreachableError(DeviceError):
    """The device does not answer at the moment, or forgot what it was doing: what ran there is void."""


class RefusedError(DeviceError):
    """What was sent is not what a device takes, and was not opened: a path, code, or more than it allows."""


class ExhaustedError(DeviceError):
    """The model needs more memory than the process that measures may have."""


class StorageError(AutopruneError):
    """A run directory or file that cannot be read, written or trusted."""

    exit_code = 6


class StoppedEarlyError(AutopruneError):
    """The search was asked to stop (SIGTERM); what was found so far is kept as a partial front."""

    exit_code = 7


class RenewalDueError(AutopruneError):
    """A finished model is not what it was on the task that it is held against."""

    exit_code = 8


class InterruptedSearchError(StoppedEarlyError):
    """The search was interrupted from the keyboard; what was found so far is kept as a partial front."""

    exit_code = 130


class Terminated(BaseException):
    """Raised where the process was asked to end (SIGTERM), as KeyboardInterrupt is for Ctrl-C."""


def stopped(reason: BaseException, front: str, trials: int, run: str) -> StoppedEarlyError:
    """What a search raises that a signal ended: with what became of it, and how to go on."""
    kind = InterruptedSearchError if isinstance(reason, KeyboardInterrupt) else StoppedEarlyError
    return kind(
        expected="to search to the end",
        received=f"a signal to stop after {trials} candidates",
        cure=f"{front}, in {run}; `autoprune resume {run}` goes on",
    )


def one_line(text: str, limit: int = 600) -> str:
    """Fold white space, so that messages of foreign exceptions stay on one line of at most `limit` characters."""
    folded = " ".join(text.split())
    return folded if len(folded) <= limit else folded[: limit - 3] + "..."


def describe(error: BaseException) -> str:
    """A foreign exception as one short phrase: its type and its message; of the operating system's, what it says."""
    if isinstance(error, OSError) and error.strerror:
        place = f": {error.filename}" if isinstance(error.filename, str) else ""
        return one_line(f"{error.strerror.lower()}{place}", 300)
    return one_line(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__, 300)
