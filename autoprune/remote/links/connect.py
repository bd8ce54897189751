"""The link for an address. Knows which one it is, and where a token comes from; tokens stay in this process."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from autoprune.core.address import DeviceAddress
from autoprune.errors import DeviceError, describe
from autoprune.remote.links import Link
from autoprune.remote.links.process import ProcessLink
from autoprune.remote.links.retry import GRACE_S, Tell

#: The variable of the environment with the token of an agent that has no name.
TOKEN: Final = "AUTOPRUNE_DEVICE_TOKEN"  # noqa: S105 - the name, not the token


def reached(
    address: DeviceAddress | None, tell: Tell, *, wait: bool = True, waits: Tell = lambda holder: None
) -> Callable[[str], Link]:
    """What links a bench with a process at an address, None for this machine.

    wait: for a device that does not answer, however long that takes; waits: told who has the device where another one
    does. An agent's queue is not told.

    Raises:
        DeviceError: a library or a token is missing.
    """
    if address is None:
        return lambda profiler: ProcessLink(profiler, waits=waits)
    grace_s = float("inf") if wait else GRACE_S
    try:
        if address.scheme == "ssh":
            from autoprune.remote.links.ssh import SshLink

            return lambda profiler: SshLink(address, profiler, grace_s, tell, waits)
        from autoprune.remote.links.http import HttpLink
    except ImportError as error:
        raise DeviceError(
            expected=f"the libraries for {address.shown}",
            received=describe(error),
            cure="pip install 'autoprune[search]'",
        ) from error
    token = _token(address)
    return lambda _: HttpLink(address, token, grace_s, tell)


def _token(address: DeviceAddress) -> str:
    try:
        if not address.token_file:
            return _checked(os.environ.get(TOKEN, ""))
        return _checked(Path(address.token_file).expanduser().read_text(encoding="ascii"))
    except (OSError, ValueError) as error:
        raise DeviceError(
            expected=f"the token of {address.shown} in {address.token_file or TOKEN}",
            received="what is no text" if isinstance(error, UnicodeError) else describe(error),
            cure="copy it there from the device, or name another file: `autoprune devices add --token-file`",
        ) from error


def _checked(token: str) -> str:
    """Raises ValueError, which does not quote it, where it cannot be sent."""
    token = token.strip()
    if not re.fullmatch(r"[!-~]*", token):
        raise ValueError("several words or lines")
    return token
