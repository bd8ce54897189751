"""Ends what a killed search left of its private Ray cluster. Knows a folder and process tables; standard library only.

    python -I -S _reaper.py FOLDER DRIVER_PID

Ray's own processes follow their parent within seconds, but two agents of a node do not for a minute, and session
folders stay. This process waits for a byte on its standard input, or its end, which is that of the driver, then kills
whatever has a file of the cluster's folder open, and removes the folder.
"""

import os
import shutil
import signal
import sys
import time
from pathlib import Path

_PATIENCE_S = 15.0
_QUIET = 3


def open_below(root: str, own: set[int]) -> list[int]:
    """Processes that have a file below `root` open."""
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) in own:
            continue
        try:
            links = [link.readlink() for link in (process / "fd").iterdir()]
        except OSError:
            continue
        if any(link.is_relative_to(root) for link in links):
            found.append(int(process.name))
    return found


def main(root: str, driver: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read(1)
    quiet, end = 0, time.monotonic() + _PATIENCE_S
    while quiet < _QUIET and time.monotonic() < end:
        left = open_below(root, {os.getpid(), driver})
        for process in left:
            try:
                os.kill(process, signal.SIGKILL)
            except OSError:
                continue
        quiet = 0 if left else quiet + 1
        time.sleep(0.2)
    shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
