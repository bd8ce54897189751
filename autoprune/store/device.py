"""What is known of a device, kept in the user's cache. Knows folders and JSON; readers check what they find.

One folder a fingerprint: a device, runtime and version whose timings are comparable. Searches share it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import platformdirs

from autoprune.errors import StorageError
from autoprune.store.files import append, storing, write_atomic


@dataclass(frozen=True)
class DeviceStore:
    """The folder of one fingerprint."""

    folder: Path

    @classmethod
    def of(cls, fingerprint: str) -> DeviceStore:
        """In the user's cache; the folder says in a file of its own what it is of."""
        store = cls(cache_folder("devices") / hashlib.sha256(fingerprint.encode()).hexdigest()[:16])
        if store.read("device.json") is None:
            store.write("device.json", {"fingerprint": fingerprint})
        return store

    def read(self, name: str) -> Any:
        """The JSON of a file; None where there is none that can be read, as everything here can be measured again."""
        try:
            return json.loads((self.folder / name).read_bytes())
        except (OSError, ValueError):
            return None

    def write(self, name: str, content: Any) -> None:
        write_atomic(self.folder / name, json.dumps(content).encode())

    def change(self, name: str, change: Callable[[Any], Any]) -> None:
        """Write what a function makes of the content that is there (None: none); no other process writes meanwhile."""
        with storing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(self.folder / "LOCK"):
                write_atomic(self.folder / name, json.dumps(change(self.read(name))).encode())

    def lines(self, name: str) -> list[Any]:
        """The entries of a log; broken lines are left out."""
        try:
            text = (self.folder / name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return []
        return [entry for entry in map(_entry, text.splitlines()) if entry is not None]

    def append(self, name: str, entry: Any) -> None:
        append(self.folder / name, json.dumps(entry))

    def remove(self, name: str) -> int:
        """Remove a log; how many entries it had."""
        count = len(self.lines(name))
        with storing(self.folder):
            (self.folder / name).unlink(missing_ok=True)
        return count

    @classmethod
    def all(cls) -> Iterator[tuple[str, DeviceStore]]:
        """Every device that something is known of, with its fingerprint."""
        for folder in sorted(cache_folder("devices").iterdir()):
            about = cls(folder).read("device.json")
            if isinstance(about, dict) and isinstance(about.get("fingerprint"), str):
                yield about["fingerprint"], cls(folder)


def cache_folder(name: str) -> Path:
    """A folder of the user's cache, made; of a temporary one of this user's where that cannot be written.

    Raises:
        StorageError: neither can.
    """
    usual, user = Path(platformdirs.user_cache_dir("autoprune")), os.getuid()
    instead = Path(tempfile.gettempdir()) / f"autoprune-{user}"
    for root, mode in ((usual, 0o777), (instead, 0o700)):
        folder = root / name
        with contextlib.suppress(OSError):
            root.parent.mkdir(parents=True, exist_ok=True)
            root.mkdir(mode=mode, exist_ok=True)
            folder.mkdir(exist_ok=True)
            # What others could have put into a temporary folder is not read.
            ours = root == usual or instead.lstat().st_uid == user
            if ours and os.access(folder, os.W_OK | os.X_OK):
                return folder
    raise StorageError(
        expected="a folder for what is known of devices",
        received=f"neither {usual} nor {instead} can be written",
        cure="set XDG_CACHE_HOME to a folder that can",
    )


def _entry(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None
