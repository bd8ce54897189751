"""A state over HTTP, for a Prometheus on the same machine. Knows loopback and one path; nothing is written."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from autoprune.agent.settings import meant_for_here
from autoprune.errors import DeviceError, describe
from autoprune.monitoring.exposition import CONTENT_TYPE

_HERE: Final = "127.0.0.1"


class Endpoint(ThreadingHTTPServer):
    """Serves `/metrics` on loopback, in a thread of its own, until `close`."""

    daemon_threads = True

    def __init__(self, port: int, text: Callable[[], str]) -> None:
        """
        Args:
            port: 0 for any free one.
            text: What is answered.

        Raises:
            DeviceError: the port cannot be bound.
        """
        self.text = text
        try:
            super().__init__((_HERE, port), _Handler)
        except OSError as error:
            cure = "pass port=0 for a free one, or end what has it"
            raise DeviceError(expected=f"to bind {_HERE}:{port}", received=describe(error), cure=cure) from error
        self._thread = threading.Thread(target=self.serve_forever, name="autoprune-metrics", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://{_HERE}:{self.server_address[1]}/metrics"

    def close(self) -> None:
        """Stop serving."""
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Endpoint
    timeout = 10

    def do_GET(self) -> None:
        if not meant_for_here(self.headers.get("host", "")):
            self._answer(400, "ask for 127.0.0.1 or localhost")
        elif self.path != "/metrics":
            self._answer(404, "there is /metrics")
        else:
            self._answer(200, self.server.text())

    def _answer(self, status: int, text: str) -> None:
        content = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # who asked has gone
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing: it is asked every few seconds."""
