"""The page of runs, served while their searches go on. Knows HTTP, and who may look; nothing is written, and no lock is
taken."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Sequence
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from autoprune.agent.settings import AgentSettings, loopback, meant_for_here
from autoprune.errors import AutopruneError, DeviceError, Terminated, describe
from autoprune.report.page import data_of, encoded, report
from autoprune.store.reading import FRONT, LOG, MEASUREMENTS, read_run

_COOKIE: Final = "autoprune-watch"
_HTML, _JSON, _TEXT = "text/html; charset=utf-8", "application/json", "text/plain; charset=utf-8"


def watch(runs: Sequence[Path], settings: AgentSettings, say: Callable[[str], None]) -> None:
    """Serve the page of these runs until interrupted; it asks for news by itself.

    Args:
        runs: Run directories.
        settings: Where, and the token that who looks must bring; empty for none.
        say: Takes what its user reads.

    Raises:
        StorageError: one of them is no run.
        UsageError: a library of the page is missing.
        DeviceError: the address cannot be bound.
    """
    report(runs)  # what is wrong is said now, not to a browser
    with page_server(runs, settings) as server:
        port = server.server_address[1]
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        say(f"watching at http://{host}:{port}/{'?token=TOKEN' if settings.token else ''} until Ctrl-C")
        if not loopback(settings.host):
            say("the token and the page go over the network unencrypted: an ssh tunnel to a loopback address is safer")
        with contextlib.suppress(Terminated, KeyboardInterrupt):
            server.serve_forever()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, runs: Sequence[Path], settings: AgentSettings) -> None:
        self.runs, self.settings = runs, settings
        self.address_family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        super().__init__((settings.host, settings.port), _Handler)

    def state(self) -> str:
        """Another text whenever a run has written something."""
        found = [
            path.stat() for run in self.runs for name in (FRONT, LOG, MEASUREMENTS) if (path := run / name).exists()
        ]
        return f'"{"-".join(f"{each.st_mtime_ns:x}.{each.st_size:x}" for each in found)}"'


def page_server(runs: Sequence[Path], settings: AgentSettings) -> _Server:
    """The server, which listens and does not serve yet.

    Raises:
        DeviceError: the address cannot be bound.
    """
    try:
        return _Server(runs, settings)
    except OSError as error:
        cure = "give another --bind, or end what has it"
        raise DeviceError(expected=f"to bind {settings.url}", received=describe(error), cure=cure) from error


class _Handler(BaseHTTPRequestHandler):
    """One request: GET of the page, or of its data."""

    server: _Server
    timeout = 10

    def do_GET(self) -> None:
        settings, asked = self.server.settings, urlsplit(self.path)
        brought = parse_qs(asked.query).get("token", [""])[0]
        if not settings.token and not meant_for_here(self.headers.get("host", "")):
            self._answer(400, _TEXT, b"ask for 127.0.0.1 or localhost")
        elif settings.token and brought and settings.lets_in(brought):  # from now on the address need not tell it
            cookie = f"{_COOKIE}={settings.digest}; HttpOnly; SameSite=Strict; Path=/"
            self._answer(303, _TEXT, b"", {"Location": asked.path, "Set-Cookie": cookie})
        elif settings.token and not self._known():
            self._answer(401, _TEXT, b"open the address with ?token= and the token of --token-file")
        else:
            self._show(asked.path)

    def _known(self) -> bool:
        """Whether who asks has brought the token, or the cookie that was given for it."""
        settings = self.server.settings
        kind, _, token = self.headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return settings.lets_in(token.strip())
        try:
            found = SimpleCookie(self.headers.get("cookie", "")).get(_COOKIE)
        except CookieError:
            return False
        return found is not None and settings.knows(found.value)

    def _show(self, path: str) -> None:
        state = self.server.state()
        try:
            if path == "/":
                self._answer(200, _HTML, report(self.server.runs, live=True))
            elif path != "/data.json":
                self._answer(404, _TEXT, b"there are / and /data.json")
            elif self.headers.get("if-none-match") == state:
                self._answer(304, _JSON, b"", {"ETag": state})
            else:
                content = encoded(data_of([read_run(run) for run in self.server.runs])).encode()
                self._answer(200, _JSON, content, {"ETag": state})
        except AutopruneError as error:  # such as a run that was removed
            self._answer(503, _TEXT, str(error).encode())

    def _answer(self, status: int, kind: str, content: bytes, more: dict[str, str] | None = None) -> None:
        self.send_response(status)
        always = {"Content-Type": kind, "Content-Length": str(len(content)), "Cache-Control": "no-cache"}
        safe = {"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer"}
        for name, value in {**always, **safe, **(more or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # who asked has gone
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing: a browser asks every other second."""
