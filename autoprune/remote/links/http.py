"""A lease at an agent. Knows how requests survive a bad network; what runs there is the same worker as here.

Every request has an id of its own, by which it is found again: a connection that breaks costs time, never a measurement
or a second run. What has no answer is asked again, for ever or for a while; a lease that the agent no longer knows is
over, and with it all that its process had loaded.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from autoprune.core.address import DeviceAddress
from autoprune.errors import DeviceError, RefusedError, UnreachableError, describe
from autoprune.remote.links import result_of
from autoprune.remote.links.retry import Patience, Tell

#: Seconds that a request waits for its job, and that one may take beyond this.
_WAIT_S: Final = 20.0
_SLACK_S: Final = 15.0
#: Signs of life in the time after which a lease would end.
_BEATS: Final = 4
_ATTEMPTS: Final = 5
#: What no proxy is to see.
_HERE: Final = ("127.0.0.1", "localhost", "::1")
#: Answers that may be another one later: no room for a lease, a proxy without its agent.
_LATER: Final = (429, 502, 503, 504)


@dataclass
class HttpLink:
    """One lease.

    token: that the agent wants, empty for none; grace_s, tell: as in `Patience`.
    """

    address: DeviceAddress
    token: str
    grace_s: float
    tell: Tell
    _lease: str = field(default="", init=False)
    _fence: int = field(default=0, init=False)
    _count: int = field(default=0, init=False)
    _dead: bool = field(default=False, init=False)
    _closing: contextlib.ExitStack = field(default_factory=contextlib.ExitStack, init=False)
    _ended: threading.Event = field(default_factory=threading.Event, init=False)
    _client: httpx.Client = field(init=False, repr=False)
    _path: str = field(default="", init=False)
    _blobs: Mapping[str, bytes] = field(default_factory=dict, init=False, repr=False)

    def start(self, opening: Mapping[str, Any]) -> None:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        timeout = httpx.Timeout(_WAIT_S + _SLACK_S, connect=10.0)
        try:
            client = httpx.Client(
                base_url=self.address.url, headers=headers, timeout=timeout, trust_env=self.address.host not in _HERE
            )
            self._client = self._closing.enter_context(client)
        except (OSError, ValueError, ImportError) as error:
            raise DeviceError(
                expected=f"a client for {self.address.url}",
                received=describe(error),
                cure="check SSL_CERT_FILE and the variables that name a proxy, such as ALL_PROXY",
            ) from error
        found = self._call("POST", "/leases", json=dict(opening)).json()
        try:
            self._lease, self._fence, pause_s = str(found["lease"]), int(found["fence"]), found["ttl_s"] / _BEATS
        except (KeyError, TypeError, ValueError) as error:
            raise _unusable(self.address.url, "an answer of something else") from error
        self._path = f"/leases/{self._lease}"
        beating = threading.Thread(target=self._beat, args=(pause_s,), daemon=True)
        beating.start()

    def opened(self, limit_s: float) -> dict[str, Any]:
        found: dict[str, Any] = self._awaited("open", {"state": "queued"})
        return found

    @contextlib.contextmanager
    def lent(self, blobs: Mapping[str, bytes]) -> Iterator[None]:
        self._blobs = blobs
        self._put(self._call("POST", "/artifacts/missing", json={"names": list(blobs)}).json()["missing"])
        try:
            yield
        finally:
            self._blobs = {}

    def ask(self, request: Mapping[str, Any], limit_s: float) -> Any:
        self._count += 1
        job = f"{self._count}-{secrets.token_hex(4)}"
        order = {"fence": self._fence, "limit_s": limit_s, "request": dict(request)}
        for _ in range(_ATTEMPTS):
            answer = self._call("PUT", f"{self._path}/jobs/{job}", json=order, params={"wait": _WAIT_S}, allowed=(409,))
            if answer.status_code != 409:
                return self._awaited(job, answer.json())
            found = answer.json()
            if not found["missing"]:
                result_of(found)
            self._put(found["missing"])  # they went to make room since they were put
        raise RefusedError(
            expected="an agent that keeps what it is given",
            received="files that are gone again",
            cure="raise its --cache",
        )

    def alive(self) -> bool:
        return bool(self._lease) and not self._dead

    def close(self) -> None:
        if self._lease:
            self._over()
            with contextlib.suppress(httpx.HTTPError):  # it ends by itself where this does not get through
                self._client.delete(self._path, params={"fence": self._fence}, timeout=2.0)
        self._closing.close()

    def _over(self) -> None:
        self._lease = ""
        self._ended.set()

    def _awaited(self, job: str, found: Mapping[str, Any]) -> Any:
        """The result of a job. The agent keeps the time limit: that counts from when the job's turn comes."""
        while found["state"] != "done":
            params: dict[str, float] = {"fence": self._fence, "wait": _WAIT_S}
            found = self._call("GET", f"{self._path}/jobs/{job}", params=params).json()
        self._dead = not found["alive"]
        return result_of(found["reply"])

    def _put(self, names: list[str]) -> None:
        for name in names:
            self._call("PUT", f"/artifacts/{name}", content=self._blobs[name])

    def _call(self, method: str, path: str, *, allowed: tuple[int, ...] = (), **more: Any) -> httpx.Response:
        """The agent's answer, however often it must be asked."""
        patience = Patience(self.address.shown, self.grace_s, self.tell)
        while True:
            try:
                answer = self._client.request(method, path, **more)
                if answer.status_code not in _LATER:
                    return self._checked(answer, allowed)
                trouble = f"status {answer.status_code}"
            except httpx.TransportError as error:
                trouble = describe(error)
            try:
                patience.after(trouble)
            except UnreachableError:
                self._over()
                raise

    def _checked(self, answer: httpx.Response, allowed: tuple[int, ...]) -> httpx.Response:
        if answer.is_success or answer.status_code in allowed:
            if answer.content and "json" not in answer.headers.get("content-type", ""):
                raise _unusable(self.address.url, "a page of something else")
            return answer
        if answer.status_code == 401:
            raise DeviceError(
                expected=f"the token of the agent at {self.address.url}",
                received="another one" if self.token else "none",
                cure="give it as AUTOPRUNE_DEVICE_TOKEN, or with `autoprune devices add --token-file`",
            )
        try:
            reply = answer.json()
            failure = {"error": dict(reply["error"])}
        except (ValueError, KeyError, TypeError) as error:
            raise _unusable(self.address.url, f"status {answer.status_code}") from error
        if answer.status_code == 410:
            self._over()
        result_of(failure)
        raise AssertionError("a failure raises")

    def _beat(self, pause_s: float) -> None:
        """Say that the lease is wanted, until it is not."""
        while not self._ended.wait(pause_s):
            # Who asks will see what is wrong; or the client was closed just now.
            with contextlib.suppress(httpx.HTTPError, RuntimeError):
                self._client.post(f"{self._path}/heartbeat", json={"fence": self._fence}, timeout=pause_s)


def _unusable(url: str, received: str) -> DeviceError:
    return DeviceError(
        expected=f"an autoprune agent at {url}", received=received, cure="check the address, and the versions of both"
    )
