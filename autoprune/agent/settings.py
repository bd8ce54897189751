"""What an agent allows. Knows addresses, tokens and limits; opens nothing but the token's file."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from autoprune.errors import RefusedError, UsageError, describe

PORT: Final = 7333
_SHORTEST: Final = 16


class FullError(RefusedError):
    """More at a time than is allowed; later there may be room."""


@dataclass(frozen=True)
class AgentSettings:
    """token: that requests must bring, empty for none; tasks: whose modules may be measured, by name; ttl_s: a lease
    that nobody asks for so long has ended; job_s: of the longest job; memory: bytes that a model may use, None for
    most of what is free; artifact_bytes, cache_bytes: of one file and of all; leases: at a time.
    """

    host: str = "127.0.0.1"
    port: int = PORT
    token: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    tasks: tuple[str, ...] = ()
    ttl_s: float = 20.0
    job_s: float = 900.0
    memory: float | None = None
    artifact_bytes: int = 2**30
    cache_bytes: int = 4 * 2**30
    leases: int = 64

    def __post_init__(self) -> None:
        if not self.token and not loopback(self.host):
            raise UsageError(
                expected="a token where others than this machine can connect",
                received=f"--bind {self.host}:{self.port} without one",
                cure="give --token-file FILE, or bind to 127.0.0.1",
            )
        if bool(self.tls_cert) != bool(self.tls_key):
            raise UsageError(
                expected="a certificate and its key", received="one of them", cure="give both --tls-cert and --tls-key"
            )

    def lets_in(self, given: str) -> bool:
        """Whether a token is the right one; takes the same time for every wrong one."""
        return self.knows(hashlib.sha256(given.encode()).hexdigest())

    @property
    def digest(self) -> str:
        """Of the token, in characters that stand anywhere."""
        return hashlib.sha256(self.token.encode()).hexdigest()

    def knows(self, digest: str) -> bool:
        """Whether it is the digest of the right token; takes the same time for every wrong one."""
        return hmac.compare_digest(self.digest.encode(), digest.encode())

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls_cert else 'http'}://{host}:{self.port}"


def loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def meant_for_here(host: str) -> bool:
    """Whether a request with that Host header was meant for this machine: where no token is asked for, a page in a
    browser must not pass for its user."""
    return loopback((host.rpartition(":")[0] or host).strip("[]"))


def bound(text: str, usual: int = PORT) -> tuple[str, int]:
    """HOST:PORT, HOST or :PORT; the usual port where none is given."""
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, str(usual)
    host = host.strip("[]") or "127.0.0.1"
    if not port.isdigit() or not 0 <= int(port) < 2**16:
        raise UsageError(expected="HOST:PORT", received=repr(text), cure=f"write for example 127.0.0.1:{usual}")
    return host, int(port)


def token_of(path: Path) -> tuple[str, bool]:
    """The token in a file, and whether it was made just now.

    Raises:
        UsageError: it is too short, cannot be read, or others than its owner can read it.
    """
    try:
        made = not path.exists()
        if made:
            path.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_urlsafe(32) + "\n")
        mode, token = path.stat().st_mode, path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise UsageError(
            expected=f"a token in {path}", received=describe(error), cure="name a file that can be read or made"
        ) from error
    if mode & 0o077:
        raise UsageError(
            expected=f"{path} to be readable by its owner alone",
            received=f"mode {mode & 0o777:o}",
            cure=f"chmod 600 {path}",
        )
    if len(token) < _SHORTEST:
        raise UsageError(
            expected=f"a token of at least {_SHORTEST} characters in {path}",
            received=f"{len(token)}",
            cure="remove the file, and a token is made",
        )
    return token, made
