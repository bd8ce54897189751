"""One measurement at a time on a device. Knows lock files between processes of one user; not what is measured."""

from __future__ import annotations

import hashlib
import tempfile
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import filelock
import platformdirs

#: What a session enters around every measurement.
DeviceLock = AbstractContextManager[object]


def device_lock(fingerprint: str, exclusive: bool) -> DeviceLock:
    """A lock shared by every process of this user that measures on the device of that fingerprint; reentrant."""
    if not exclusive:
        return nullcontext()
    folder = Path(platformdirs.user_cache_dir("autoprune")) / "locks"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:  # containers without a writable home
        folder = Path(tempfile.gettempdir())
    return filelock.FileLock(folder / f"{hashlib.sha256(fingerprint.encode()).hexdigest()[:16]}.lock")
