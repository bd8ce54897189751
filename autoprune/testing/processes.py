"""Processes of this machine, for tests that kill some and expect none to be left. Knows /proc only."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def descendants(process: int) -> dict[int, str]:
    """Every process that descends from one, with its command line."""
    seen: dict[int, tuple[int, str]] = {}
    for entry in Path("/proc").iterdir():
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            seen[int(entry.name)] = parent, command
        except (OSError, ValueError, IndexError):
            continue
    found: dict[int, str] = {}
    queue = [process]
    while queue:
        above = queue.pop()
        below = {each: command for each, (parent, command) in seen.items() if parent == above}
        found |= below
        queue.extend(below)
    return found


def called(process: int, word: str) -> list[int]:
    """Descendants with a word in their command line."""
    return [each for each, command in descendants(process).items() if word in command]


def alive(processes: Iterable[int]) -> list[int]:
    """Those that run: neither gone nor dead and waiting for their parent."""
    found = []
    for process in processes:
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state != "Z":
            found.append(process)
    return found


def until(condition: Callable[[], T], seconds: float = 60.0) -> T:
    """What a condition gives once it gives something.

    Raises:
        TimeoutError: it did not in time.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise TimeoutError(f"not within {seconds:g} s")
