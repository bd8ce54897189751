"""A process on another machine, through its sshd. Knows connections, host keys and files over SFTP; no daemon of ours.

The machine needs Python with `autoprune[agent]` and the runtime. Its host key must be known, as for the ssh command. A
connection that breaks takes the process with it: what ran there is void, and the next request starts another.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shlex
import threading
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import asyncssh

from autoprune.core.address import DeviceAddress
from autoprune.errors import DeviceError, UnreachableError, describe
from autoprune.remote.links import PASSIVE, answer, death, overdue
from autoprune.remote.links.retry import Patience, Tell

T = TypeVar("T")

_CONNECT_S: Final = 15.0
#: A silent machine is asked for a sign of life so often, and given up after so many.
_ALIVE_S, _SIGNS = 5, 4
#: Files kept there for the models to come.
_KEPT_BYTES: Final = 256 * 2**20
_WORDS: Final = 2**14
_END_S: Final = 3.0


@dataclass
class SshLink:
    """One process, with a connection and a thread of its own.

    grace_s, tell: as in `Patience`; waits: told who has the device that the process waits for.
    """

    address: DeviceAddress
    profiler: str
    grace_s: float
    tell: Tell
    waits: Tell
    _there: dict[str, int] = field(default_factory=dict, init=False)
    _said: str = field(default="", init=False)
    _live: bool = field(default=False, init=False)
    _loop: asyncio.AbstractEventLoop = field(init=False, repr=False)
    _thread: threading.Thread = field(init=False, repr=False)
    _folder: str = field(default="", init=False)

    def start(self, opening: Mapping[str, Any]) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        patience = Patience(self.address.shown, self.grace_s, self.tell)
        try:
            while not self._live:
                try:
                    self._do(self._connect())
                    self._live = True
                except FileNotFoundError as error:
                    raise self._barred(error) from error
                except (OSError, asyncssh.ConnectionLost, asyncssh.ChannelOpenError) as error:
                    patience.after(describe(error))
                except (asyncssh.Error, ValueError) as error:  # of a configuration or key that it cannot read
                    raise self._barred(error) from error
            self._send({**opening, "blobs": ""})
        except BaseException:
            self.close()
            raise

    def _barred(self, error: Exception) -> DeviceError:
        """Why trying again is of no use."""
        return DeviceError(
            expected=f"a connection with {self.address.shown}",
            received=describe(error),
            cure="see whether the ssh command connects, and check ~/.ssh/config and its keys",
        )

    def opened(self, limit_s: float) -> dict[str, Any]:
        found: dict[str, Any] = self._answer(limit_s, "to open")
        self._folder = str(found["blobs"])
        return found

    @contextlib.contextmanager
    def lent(self, blobs: Mapping[str, bytes]) -> Iterator[None]:
        try:
            for name, content in blobs.items():
                if name not in self._there:
                    self._do(self._put(f"{self._folder}/{name}", content))
                self._there[name] = self._there.pop(name, len(content))
        except asyncssh.SFTPError as error:
            raise DeviceError(
                expected=f"room for a model on {self.address.host}", received=describe(error), cure="free space there"
            ) from error
        except (OSError, asyncssh.Error) as error:
            raise self._lost(error) from error
        yield
        for name in list(self._there):  # the one used last is the last
            if sum(self._there.values()) <= _KEPT_BYTES or not self._live:
                break
            del self._there[name]
            with contextlib.suppress(OSError, asyncssh.Error):
                self._do(self._files.remove(f"{self._folder}/{name}"))

    def ask(self, request: Mapping[str, Any], limit_s: float) -> Any:
        self._send({**request, "within_s": limit_s})
        return self._answer(limit_s, f"to {request['call']}")

    def alive(self) -> bool:
        return self._live and self._process.exit_status is None and self._process.exit_signal is None

    def close(self) -> None:
        connected, self._live = self._live, False
        if self._loop.is_closed():
            return
        if connected:
            with contextlib.suppress(OSError, asyncssh.Error, TimeoutError):  # it is gone, or goes with the connection
                self._do(asyncio.wait_for(self._disconnect(), _END_S))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _connect(self) -> None:
        where = self.address
        options: dict[str, Any] = {"port": where.port} if where.port else {}
        if where.user:
            options["username"] = where.user
        try:
            self._connection = await asyncssh.connect(
                where.host,
                connect_timeout=_CONNECT_S,
                keepalive_interval=_ALIVE_S,
                keepalive_count_max=_SIGNS,
                **options,
            )
        except asyncssh.HostKeyNotVerifiable as error:
            raise DeviceError(
                expected=f"the host key of {where.host} among those that are known",
                received=describe(error),
                cure=f"connect once with `ssh {where.host}`, and compare its key",
            ) from error
        except asyncssh.PermissionDenied as error:
            raise DeviceError(
                expected=f"{where.shown} to let us in",
                received=describe(error),
                cure="authorize a key there: `ssh-copy-id`; passwords are not asked for",
            ) from error
        try:
            await self._begin()
        except BaseException:
            self._connection.abort()
            raise

    async def _begin(self) -> None:
        """The process, and the way of its files."""
        settings = " ".join(f"{name}={value}" for name, value in PASSIVE.items())
        command = f"exec env {settings} {shlex.quote(self.address.python)} -P -m autoprune.remote.worker"
        self._process = await self._connection.create_process(command, encoding="utf-8", errors="replace")
        try:
            self._files = await self._connection.start_sftp_client()
        except (asyncssh.Error, OSError) as error:
            raise DeviceError(
                expected=f"an sshd on {self.address.host} that takes files (SFTP)",
                received=describe(error),
                cure="set its Subsystem sftp, or use an agent",
            ) from error
        self._listening = asyncio.ensure_future(self._listen())

    async def _listen(self) -> None:
        """Keep the last words."""
        while said := await self._process.stderr.read(_WORDS):
            self._said = (self._said + said)[-_WORDS:]

    async def _put(self, path: str, content: bytes) -> None:
        async with self._files.open(path, "wb") as file:
            await file.write(content)

    async def _disconnect(self) -> None:
        with contextlib.suppress(OSError, asyncssh.Error, TimeoutError):
            self._process.stdin.write_eof()
            await asyncio.wait_for(self._process.wait_closed(), 1.0)
        with contextlib.suppress(OSError, asyncssh.Error):
            self._process.kill()
        self._listening.cancel()
        self._connection.close()
        await self._connection.wait_closed()

    def _send(self, message: Mapping[str, Any]) -> None:
        async def written() -> None:
            self._process.stdin.write(json.dumps(message) + "\n")
            await self._process.stdin.drain()

        try:
            self._do(written())
        except (OSError, asyncssh.Error) as error:
            raise self._died() from error

    def _answer(self, limit_s: float, what: str) -> Any:
        return answer(lambda: self._line(limit_s, what), self.close, self.waits)

    def _line(self, limit_s: float, what: str) -> str:
        try:
            line = self._do(asyncio.wait_for(self._process.stdout.readline(), limit_s))
        except TimeoutError:
            self.close()
            raise overdue(what, limit_s) from None
        except (OSError, asyncssh.Error) as error:
            raise self._lost(error) from error
        if not line.endswith("\n"):
            raise self._died()
        return str(line)

    def _died(self) -> DeviceError:
        """What the end of the process means."""
        try:
            self._do(asyncio.wait_for(self._process.wait_closed(), _END_S))
        except (OSError, TimeoutError, asyncssh.Error) as error:
            return self._lost(error)
        ended = self._process
        self.close()
        if ended.exit_signal is None and ended.exit_status is None:
            return self._lost(ConnectionError("the connection was closed"))
        if "No module named" in self._said or ended.exit_status in (126, 127):
            return DeviceError(
                expected=f"Python with autoprune[agent] on {self.address.host}",
                received=self._said.strip().splitlines()[-1] if self._said.strip() else f"'{self.address.python}'",
                cure="install it there, and name that Python: `autoprune devices add --python PATH`",
            )
        name = f"SIG{ended.exit_signal[0]}" if ended.exit_signal else f"exit code {ended.exit_status}"
        return death(self.profiler, name, self._said, killed=name == "SIGKILL")

    def _lost(self, error: BaseException) -> UnreachableError:
        self.close()
        return UnreachableError(
            expected=f"{self.address.shown} to answer",
            received=describe(error),
            cure="look whether it is up with `autoprune devices test`",
        )

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop.is_closed():
            work.close()
            raise asyncssh.ConnectionLost("the connection was closed")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()
