"""Files by their SHA-256, up to a size. Knows which were used last; not what is in them."""

from __future__ import annotations

import contextlib
import hashlib
import re
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Final

from autoprune.agent.settings import FullError
from autoprune.errors import RefusedError, UsageError
from autoprune.store.files import storing

#: What it calls its files: by their hash, and while they arrive.
_OWN: Final = re.compile(r"[0-9a-f]{64}|[0-9a-f]{16}\.partial")


class Artifacts:
    """A folder of its own; what is in use is never removed. Every name was checked to be a hash."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        """Raises UsageError where something else is in the folder."""
        with storing(folder):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            there = list(folder.iterdir())
        self.folder, self._most = folder, most_bytes
        if foreign := [path.name for path in there if not _OWN.fullmatch(path.name)]:
            raise UsageError(
                expected=f"nothing but an agent's files in {folder}",
                received=", ".join(sorted(foreign)[:3]),
                cure="give another --folder",
            )
        for left in there:  # of an agent that may have ended with the power
            left.unlink()
        self._sizes: dict[str, int] = {}  # the one used last is the last
        self._arriving = 0
        self._used: Counter[str] = Counter()

    @property
    def size(self) -> int:
        return sum(self._sizes.values())

    def missing(self, names: Iterable[str]) -> list[str]:
        """Those that are not here; the others were used just now."""
        absent = []
        for name in dict.fromkeys(names):
            if name in self._sizes:
                self._sizes[name] = self._sizes.pop(name)
            else:
                absent.append(name)
        return absent

    async def put(self, name: str, content: AsyncIterator[bytes]) -> None:
        """Store what has that hash.

        Raises:
            RefusedError: it has another one. FullError: too much arrives at a time. StorageError: the disk is full.
        """
        partial, digest, size = self.folder / f"{secrets.token_hex(8)}.partial", hashlib.sha256(), 0
        try:
            with storing(partial), partial.open("wb") as file:
                async for chunk in content:
                    digest.update(chunk)
                    size += file.write(chunk)
                    self._arriving += len(chunk)
                    self._make_room(size)
            if digest.hexdigest() != name:
                raise RefusedError(
                    expected=f"bytes with the hash {name}", received=digest.hexdigest(), cure="name them by their own"
                )
            path = (self.folder / name).resolve()
            if not path.is_relative_to(self.folder.resolve()):
                raise RefusedError(expected="a hash", received="a path", cure="name it by its hash")
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
            self._arriving -= size
        self._sizes.pop(name, None)
        self._sizes[name] = size
        self._evict()

    @contextlib.contextmanager
    def used(self, names: Iterable[str]) -> Iterator[None]:
        """They stay as long as this is held."""
        held = set(names)
        self._used.update(held)
        try:
            yield
        finally:
            self._used.subtract(held)
            self._used += Counter()
            self._evict()

    def _make_room(self, size: int) -> None:
        """For what arrives; one file alone may be larger than all that is kept."""
        if size < self._arriving > self._most:
            raise FullError(
                expected=f"uploads of at most {self._most} bytes at a time",
                received="more beside each other",
                cure="send one after the other, or start the agent with a larger --cache",
            )
        self._evict()

    def _evict(self) -> None:
        over = self.size + self._arriving - self._most
        for name in list(self._sizes):
            if over <= 0:
                return
            if not self._used[name]:
                over -= self._sizes.pop(name)
                (self.folder / name).unlink(missing_ok=True)
