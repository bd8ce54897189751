"""Who gets in, and how large and how slow a request may be. Knows tokens, sizes and clocks; no routes.

Everything is checked before a route sees the request, and bodies as they come: none is held beyond what is allowed.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

from starlette.requests import ClientDisconnect
from uvicorn.protocols.http.h11_impl import H11Protocol

from autoprune.agent.settings import AgentSettings, meant_for_here

#: Of a request that is no artifact.
_MESSAGE_BYTES: Final = 32 * 2**20
#: Seconds until the headers must be there, and until the next piece of a body must.
_HEADERS_S: Final = 10.0
_PIECE_S: Final = 10.0
#: After a first while a body must come at least that fast.
_PATIENCE_S, _RATE = 20.0, 16 * 2**10
_OPEN: Final = ("/health",)


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(self, app: Any, settings: AgentSettings) -> None:
        self._app, self._settings = app, settings

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers, path = dict(scope["headers"]), scope["path"]
        most = self._settings.artifact_bytes if path.startswith("/artifacts/") else _MESSAGE_BYTES
        length = headers.get(b"content-length", b"0")
        if ".." in path.split("/") or "\\" in path or "\0" in path or "//" in path:
            await _refuse(send, 400, "a path of this agent", "one that leads elsewhere", "see /docs for its paths")
        elif not self._settings.token and not meant_for_here(headers.get(b"host", b"").decode("latin-1")):
            await _refuse(send, 400, "this machine by its name", "another name", "ask for 127.0.0.1 or localhost")
        elif path not in _OPEN and not self._known(headers.get(b"authorization", b"")):
            await _refuse(
                send, 401, "the agent's token", "none, or another one", "set it as `autoprune devices add` says"
            )
        elif not length.isdigit() or int(length) > most:
            await _refuse(send, 413, f"at most {most} bytes", "more", "measure a smaller model")
        else:
            await self._watched(scope, receive, send, most)

    def _known(self, given: bytes) -> bool:
        """Whether a token was brought, or none is needed."""
        if not self._settings.token:
            return True
        kind, _, token = given.decode("latin-1").partition(" ")
        return self._settings.lets_in(token.strip()) and kind.lower() == "bearer"

    async def _watched(self, scope: Any, receive: Any, send: Any, most: int) -> None:
        """The request, as long as its body is neither too large nor too slow."""
        loop = asyncio.get_running_loop()
        begin, taken, complete, answering = loop.time(), 0, False, False

        fault: tuple[int, str, str] | None = None

        async def watched() -> Any:
            nonlocal taken, complete, fault
            if complete:
                return await receive()
            try:
                async with asyncio.timeout(_PIECE_S):
                    message = await receive()
            except TimeoutError:
                fault = 408, "a body without long pauses", f"nothing for {_PIECE_S:.0f} s"
                return {"type": "http.disconnect"}
            taken += len(message.get("body", b""))
            complete = message["type"] != "http.request" or not message.get("more_body", False)
            passed = loop.time() - begin
            if taken > most:
                fault = 413, f"at most {most} bytes", "more"
            elif not complete and passed > _PATIENCE_S and taken < _RATE * passed:
                fault = 408, f"at least {_RATE} bytes/s", "a slower body"
            return message if fault is None else {"type": "http.disconnect"}

        async def answered(message: Any) -> None:
            nonlocal answering
            if fault is None:
                answering = True
                await send(message)

        try:
            await self._app(scope, watched, answered)
        except ClientDisconnect:
            if fault is None:
                raise
        if fault is not None and not answering:
            await _refuse(send, *fault, "send it again")


class PromptProtocol(H11Protocol):
    """A connection whose requests must arrive with their headers soon."""

    _late: asyncio.TimerHandle

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._late = self.loop.call_later(_HEADERS_S, self._close_idle)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        busy = self.cycle is not None and not self.cycle.response_complete
        partial = not busy and bool(self.conn.trailing_data[0])
        if busy or not partial:
            self._late.cancel()
        elif self._late.cancelled():
            self._late = self.loop.call_later(_HEADERS_S, self._close_idle)

    def connection_lost(self, exc: Exception | None) -> None:
        self._late.cancel()
        super().connection_lost(exc)

    def _close_idle(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()


async def _refuse(send: Any, status: int, expected: str, received: str, cure: str) -> None:
    """Answer, and close the connection: what may still come of the body is not read."""
    body = {"error": {"kind": "RefusedError", "expected": expected, "received": received, "cure": cure}, "missing": []}
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})
