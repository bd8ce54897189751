"""What a processor counts of this process by itself: cycles, instructions, misses of the last cache. Knows Linux's
`perf_event_open`; not what is run meanwhile.

Every thread that is there is counted, in its own time and not in the kernel's, which most systems let everybody do.
Where there are more events than counters, the kernel lets them take turns; what each saw is scaled to the whole time.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from autoprune.errors import DeviceError

#: PERF_TYPE_HARDWARE, and its events by name.
_HARDWARE: Final = 0
EVENTS: Final = {"cycles": 0, "instructions": 1, "cache_references": 2, "cache_misses": 3}
#: The system call, by architecture.
_CALLS: Final = {"x86_64": 298, "aarch64": 241}
#: Of `perf_event_attr`, in its first version: type, size, config, sample_period, sample_type, read_format, flags, and
#: what is of breakpoints.
_ATTR: Final = struct.Struct("=IIQQQQQIIQ")
#: PERF_FORMAT_TOTAL_TIME_ENABLED and RUNNING; the bits exclude_kernel and exclude_hv.
_TIMES, _OURS = 0b11, 0b110_0000
_READING: Final = struct.Struct("=QQQ")
_PARANOID: Final = Path("/proc/sys/kernel/perf_event_paranoid")

#: (event, thread) -> a file descriptor to read it from; raises OSError.
Opens = Callable[[int, int], int]


def open_event(event: int, thread: int, kind: int = _HARDWARE) -> int:
    """Let the kernel count an event of a thread, on any processor."""
    number = _CALLS.get(platform.machine())
    if number is None or platform.system() != "Linux":
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    attr = ctypes.create_string_buffer(_ATTR.pack(kind, _ATTR.size, event, 0, 0, _TIMES, _OURS, 0, 0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    found = int(libc.syscall(number, attr, thread, -1, -1, 0))
    if found < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return found


@contextmanager
def counting(opens: Opens = open_event) -> Iterator[Callable[[], dict[str, float]]]:
    """Count while inside.

    Args:
        opens: What asks the kernel.

    Yields:
        What reads the counts so far, by the names of `EVENTS`.

    Raises:
        DeviceError: the kernel, or the machine, does not let processes count.
    """
    threads = sorted(int(each.name) for each in Path("/proc/self/task").iterdir()) if _linux() else [0]
    with ExitStack() as closing:
        opened: dict[str, list[int]] = {name: [] for name in EVENTS}
        for name, event in EVENTS.items():
            for thread in threads:
                try:
                    opened[name].append(opens(event, thread))
                except OSError as error:
                    raise _refused(name, error) from error
                closing.callback(os.close, opened[name][-1])
        before = {name: list(map(_reading, files)) for name, files in opened.items()}
        yield lambda: _counted(before, opened)


def _counted(before: Mapping[str, list[tuple[int, int, int]]], opened: Mapping[str, list[int]]) -> dict[str, float]:
    return {
        name: sum(_between(first, _reading(file)) for first, file in zip(before[name], files, strict=True))
        for name, files in opened.items()
    }


def _reading(file: int) -> tuple[int, int, int]:
    """The count, and nanoseconds in which it was wanted and in which a counter was free for it."""
    count, wanted, counted = _READING.unpack(os.read(file, _READING.size))
    return count, wanted, counted


def _between(first: tuple[int, int, int], last: tuple[int, int, int]) -> float:
    """What was counted between two readings, scaled to the time in which it was wanted."""
    count, wanted, counted = (new - old for new, old in zip(last, first, strict=True))
    return count * wanted / counted if counted else 0.0


def _linux() -> bool:
    return Path("/proc/self/task").is_dir()


def _refused(name: str, error: OSError) -> DeviceError:
    try:
        level = f" (kernel.perf_event_paranoid is {_PARANOID.read_text().strip()})"
    except OSError:
        level = ""
    absent = error.errno in (errno.ENOENT, errno.ENODEV, errno.ENOSYS, errno.EOPNOTSUPP)
    return DeviceError(
        expected=f"a kernel that lets processes count {name} by perf_event_open",
        received=f"{error.strerror}{level}",
        cure="measure on the machine itself: virtual ones mostly have no such counters"
        if absent
        else "allow it with `sysctl kernel.perf_event_paranoid=2`, and to containers with CAP_PERFMON",
    )
