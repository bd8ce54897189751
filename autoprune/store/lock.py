"""A run directory for one process at a time. Knows the file LOCK, who holds it, and where locks cannot be trusted."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path
from typing import IO, Final

from autoprune.errors import StorageError

_NAME: Final = "LOCK"
#: File systems whose locks and syncs may not hold between machines, as /proc/mounts names them.
_REMOTE: Final = ("nfs", "cifs", "smb", "9p", "afs", "ceph", "lustre", "gpfs", "beegfs", "glusterfs", "fuse.", "gfs2")


class RunLock:
    """Held from the beginning to `release`; it vanishes with the process, however that ends.

    note: empty, or that a process which is gone had left its name in it.
    """

    def __init__(self, run: Path) -> None:
        self._path = run / _NAME
        self._file: IO[str] = self._path.open("a+", encoding="utf-8")
        self._file.seek(0)
        holder = self._file.read(200).strip()
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise StorageError(
                expected=f"{run} for this search alone",
                received=f"it is held by {holder or 'another process'}",
                cure="wait for that search, or choose another --run",
            ) from None
        self.note = f"{holder} left its lock on {run} and is gone; taken over" if holder else ""
        self._file.truncate(0)
        self._file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        self._file.flush()

    def release(self) -> None:
        """Give it up, and leave no name behind; once more does nothing."""
        if self._file.closed:
            return
        self._file.truncate(0)
        fcntl.flock(self._file, fcntl.LOCK_UN)  # processes that were forked meanwhile have the file open, too
        self._file.close()


def holder(run: Path) -> str:
    """Who works on a run, without taking it; empty for nobody. The lock itself tells, as containers have names and
    processes of their own; the name in it only does where locks may not hold between machines."""
    path = run / _NAME
    try:
        with path.open(encoding="utf-8") as file:
            name = file.read(200).strip()
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return name or "another process"
    except OSError:
        return ""
    return name if remote(run) and not _gone(name) else ""


def _gone(name: str) -> bool:
    """Whether a process is known to be gone: one of this machine."""
    number, _, host = name.removeprefix("process ").partition(" on ")
    if host != socket.gethostname() or not number.isdigit():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # it is another user's
        pass
    return False


def remote(path: Path, mounts: Path = Path("/proc/mounts")) -> str:
    """The kind of network file system that a folder is on; empty where it is on none, or nobody can tell."""
    try:
        lines = mounts.read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    found = [(Path(fields[1].replace("\\040", " ")), fields[2]) for line in lines if len(fields := line.split()) > 2]
    here = path.resolve()
    inside = [(len(place.parts), kind) for place, kind in found if here.is_relative_to(place)]
    kind = max(inside, default=(0, ""))[1]
    return kind if kind.startswith(_REMOTE) else ""
