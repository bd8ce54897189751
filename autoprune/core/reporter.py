"""Where news for the user goes. Knows the interface, silence and Python's logging; terminals belong to the command
line."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final, Protocol

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


class Logged:
    """Tells the logger "autoprune": warnings, which Python shows unless told otherwise, and at INFO the rest."""

    def __init__(self) -> None:
        self._logger = logging.getLogger("autoprune")

    def note(self, text: str) -> None:
        self._logger.info(text)

    def warn(self, text: str) -> None:
        self._logger.warning(text)

    @contextmanager
    def track(self, label: str, total: int, done: int = 0) -> Iterator[Advance]:
        reached = done

        def advance(text: str) -> None:
            nonlocal reached
            reached += 1
            self._logger.info("%s: %d/%d%s", label, reached, total, f", {text}" if text else "")

        yield advance


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


#: Where nobody listens.
SILENT: Final[Reporter] = Silent()
