"""Where a device is reached. Knows the written form; connects to nothing.

ssh://user@host:port?python=/path/to/python      http://host:7333      https://host:7333
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from autoprune.errors import UsageError

SCHEMES: Final = ("ssh", "http", "https")
#: The machine that searches.
HERE: Final = "local"
#: Where a machine that is reached by ssh is asked for its Python.
PYTHON: Final = "python3"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_EXAMPLES: Final = "write for example ssh://pi@raspberrypi, http://127.0.0.1:7333 or https://board:7333"


@dataclass(frozen=True)
class DeviceAddress:
    """port: 0 for the usual one; python: of a machine that is reached by ssh; token_file: with what an agent wants."""

    scheme: str
    host: str
    port: int = 0
    user: str = ""
    python: str = PYTHON
    token_file: str = ""

    @classmethod
    def parse(cls, text: str) -> DeviceAddress:
        """Raises UsageError where the text is no address of a device."""
        try:
            parts = urlsplit(text)
            port, options = parts.port or 0, dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
        except ValueError as error:
            raise _unreadable(text) from error
        ssh = parts.scheme == "ssh"
        plain = parts.path in ("", "/") and not parts.fragment and parts.password is None
        allowed = {"python"} if ssh else set()
        user = parts.username or ""
        if (
            parts.scheme not in SCHEMES
            or not parts.hostname
            or not plain
            or set(options) - allowed
            or (user and not ssh)
        ):
            raise _unreadable(text)
        if parts.hostname.startswith("-") or user.startswith("-"):
            raise _unreadable(text)
        return cls(parts.scheme, parts.hostname, port, user, options.get("python", PYTHON))

    @property
    def url(self) -> str:
        """Without what is asked for beyond the address."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = f"{self.user}@" if self.user else ""
        return f"{self.scheme}://{user}{host}{f':{self.port}' if self.port else ''}"

    @property
    def shown(self) -> str:
        """As messages call it."""
        return f"the device at {self.url}"


@dataclass(frozen=True)
class KnownDevice:
    """A device with a name. profiler: empty for the usual one; threads: 0 for the usual number."""

    name: str
    address: DeviceAddress
    profiler: str = ""
    threads: int = 0

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or self.name == HERE:
            raise UsageError(
                expected="a name of letters, digits, dots and dashes, other than 'local'",
                received=repr(self.name),
                cure="choose another name",
            )
        if isinstance(self.threads, bool) or not isinstance(self.threads, int) or self.threads < 0:
            raise UsageError(expected="a number of threads", received=repr(self.threads), cure="give --threads 4")

    def to_json(self) -> dict[str, Any]:
        found = {
            "address": self.address.url,
            "profiler": self.profiler,
            "threads": self.threads,
            "python": "" if self.address.python == PYTHON else self.address.python,
            "token_file": self.address.token_file,
        }
        return {key: value for key, value in found.items() if value}


def _unreadable(text: str) -> UsageError:
    return UsageError(expected="the address of a device", received=repr(text), cure=_EXAMPLES)
