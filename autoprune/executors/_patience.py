"""How long Ray may take to start, and what to do about a start that failed. Knows Ray's waits; not clusters.

On a machine with other work its processes take longer than the half minute that Ray gives them.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

#: Seconds that a private cluster may take to start.
PATIENCE_S: Final = 180.0
#: What Ray reads of it from the environment: until its store answers.
SETTINGS: Final = {"RAY_gcs_server_port_wait_time_s": f"{PATIENCE_S:.0f}"}
_POLL_S: Final = 0.5
#: Below this much free memory a cluster cannot start.
_SCARCE: Final = 512 << 20
_SLOW: Final = re.compile("time[d ]*out|timeout|deadline|failed to connect|unable to connect", re.IGNORECASE)


@contextmanager
def patient() -> Iterator[None]:
    """While Ray starts: who asks for the new node waits for it. How long Ray itself waits is a number in its code."""
    from ray._private import services

    usual = services.get_node
    services.get_node = waiting(usual, PATIENCE_S)
    try:
        yield
    finally:
        services.get_node = usual


def waiting(ask: Callable[..., Any], patience_s: float) -> Callable[..., Any]:
    """A question that is asked again while its answer is a RuntimeError, as long as patience lasts."""

    def asked(*about: Any) -> Any:
        end = time.monotonic() + patience_s
        while True:
            try:
                return ask(*about)
            except RuntimeError:
                if time.monotonic() > end:
                    raise
            time.sleep(_POLL_S)

    return asked


def cure(error: BaseException, free: float) -> str:
    """What to do after a start that failed.

    Args:
        error: As Ray raised it.
        free: Bytes of memory that the machine could still give.
    """
    inline = "search with --executor inline"
    if free < _SCARCE:
        return f"free memory, or {inline}"
    if isinstance(error, TimeoutError) or _SLOW.search(str(error)):
        return f"wait until this machine has less to do and give the same command again, or {inline}"
    return f"run python -c 'import ray; ray.init()' to find the cause, or {inline}"
