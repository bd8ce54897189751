"""An agent as a server. Knows uvicorn, the log's file and what is said at the start."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
from collections.abc import Callable, Mapping
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, Final

import filelock
import uvicorn

from autoprune.agent.app import make_app
from autoprune.agent.guard import PromptProtocol
from autoprune.agent.settings import AgentSettings, loopback
from autoprune.errors import DeviceError, Terminated, UsageError, describe
from autoprune.store.files import storing

_LOG_BYTES: Final = 10 * 2**20
_GRACE_S: Final = 5
#: Connections at a time; who comes then is told to come again.
_CONNECTIONS: Final = 1000


def serve(settings: AgentSettings, folder: Path, say: Callable[[str], None]) -> None:
    """Serve until interrupted. folder: of its files, which one agent has at a time; say: takes what the operator reads.

    Raises:
        DeviceError: another agent has the folder, or the address cannot be bound.
        StorageError: the folder cannot be made. UsageError: the certificate cannot be used.
    """
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        with filelock.FileLock(folder / "LOCK", timeout=0):
            _serve(settings, folder, say)
    except filelock.Timeout as error:
        raise DeviceError(
            expected=f"{folder} for this agent alone", received="another one has it", cure="give --folder, or end it"
        ) from error


def _serve(settings: AgentSettings, folder: Path, say: Callable[[str], None]) -> None:
    handler = RotatingFileHandler(folder / "log.jsonl", maxBytes=_LOG_BYTES, backupCount=1, encoding="utf-8")
    logger = logging.Logger("autoprune agent")
    logger.addHandler(handler)

    def log(entry: Mapping[str, Any]) -> None:
        logger.info(json.dumps(entry))

    app = make_app(settings, folder, log)
    config = uvicorn.Config(
        app, settings.host, settings.port, http=PromptProtocol, ws="none", log_level="warning", access_log=False,
        ssl_certfile=settings.tls_cert or None, ssl_keyfile=settings.tls_key or None, server_header=False,
        timeout_keep_alive=30, timeout_graceful_shutdown=_GRACE_S,
        limit_concurrency=_CONNECTIONS, h11_max_incomplete_event_size=32 * 2**10,
    )  # fmt: skip
    try:
        config.load()
    except OSError as error:  # an SSLError is one
        raise UsageError(
            expected="a certificate and its key as PEM files",
            received=f"{settings.tls_cert} and {settings.tls_key}: {describe(error)}",
            cure="check --tls-cert and --tls-key",
        ) from error
    server = uvicorn.Server(config)
    listening = _listening(settings)
    port = listening.getsockname()[1]
    scheme = "https" if settings.tls_cert else "http"
    guarded = "with" if settings.token else "without"
    say(f"agent at {scheme}://{settings.host}:{port}, {guarded} a token; log: {handler.baseFilename}")
    if settings.token and not settings.tls_cert and not loopback(settings.host):
        say("the token goes over the network unencrypted: give --tls-cert and --tls-key, or use ssh")
    with contextlib.suppress(Terminated, KeyboardInterrupt):
        server.run(sockets=[listening])
    handler.close()


def _listening(settings: AgentSettings) -> socket.socket:
    """A socket of the address; named TCP, as asyncio else leaves small answers waiting for each other."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((settings.host, settings.port))
        made.listen()
    except OSError as error:
        made.close()
        raise DeviceError(
            expected=f"to bind {settings.url}", received=describe(error), cure="give another --bind, or end what has it"
        ) from error
    return made
