"""What is known of a device, kept in the user's cache. Knows folders and JSON; readers check what they find.

One folder a fingerprint: a device, runtime and version whose timings are comparable. Searches share it: one writes at a
time.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import platformdirs

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
        self.change(name, lambda _: content)

    def change(self, name: str, change: Callable[[Any], Any]) -> None:
        """Write what a function makes of the content that is there (None: none); no other process writes meanwhile."""
        with storing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(self.folder / "LOCK"):
                write_atomic(self.folder / name, json.dumps(change(self.read(name))).encode())

    def lines(self, name: str) -> list[Any]:
        """The entries of a log; broken lines are left out."""
        try:
            text = (self.folder / name).read_text(encoding="utf-8")
        except OSError:
            return []
        return [entry for entry in map(_entry, text.splitlines()) if entry is not None]

    def append(self, name: str, entry: Any) -> None:
        append(self.folder / name, json.dumps(entry))


def cache_folder(name: str) -> Path:
    """A folder of the user's cache, made; of the temporary directory where the home cannot be written."""
    folder = Path(platformdirs.user_cache_dir("autoprune")) / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        folder = Path(tempfile.gettempdir()) / "autoprune" / name
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def _entry(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None
