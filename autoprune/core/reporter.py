"""Where news for the user goes. Knows the interface and silence; terminals belong to the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

#: Called once a step is done, with a few words on the state of things.
Advance = Callable[[str], None]


class Reporter(Protocol):
    """What long work tells its user."""

    def note(self, text: str) -> None:
        """One line the user should know."""
        ...

    def warn(self, text: str) -> None:
        """One line the user should act on or doubt."""
        ...

    def track(self, label: str, total: int, done: int = 0) -> AbstractContextManager[Advance]:
        """Progress over `total` steps, of which some may be done already."""
        ...


class Silent:
    """Says nothing."""

    def note(self, text: str) -> None:
        del text

    def warn(self, text: str) -> None:
        del text

    @contextmanager
    def track(self, label: str, total: int, done: int = 0) -> Iterator[Advance]:
        del label, total, done
        yield lambda text: None
