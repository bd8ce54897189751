"""Starting a private Ray cluster, or joining one. Knows addresses, tokens and silence; not what the cluster is for.

A private cluster listens on loopback only, with a token that nobody else has; what is left of it when this process is
killed is cleaned up by another one. Ray has no settings for some of this: where its insides are touched, it says why.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from autoprune.bench.memory import available
from autoprune.core.cluster import Cluster
from autoprune.core.reporter import Reporter
from autoprune.errors import DeviceError, describe
from autoprune.executors import _patience

NAMESPACE: Final = "autoprune"
UNLOCKED: Final = "asks for no token: who reaches its port can run programs on it"
_OBJECTS: Final = 512 << 20
_REACH_S: Final = 5.0
_PROBE_S: Final = 30.0
_HERE: Final = Path(__file__).parent
_QUIET: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # A node that is gone is known after seconds, not after a quarter of a minute.
    "RAY_health_check_initial_delay_ms": "2000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
    # By default workers give way to all else on the machine, and the device would be timed while it waits.
    "RAY_worker_niceness": "0",
}


@dataclass
class Connection:
    """A cluster that this process is connected to, until `close`; one that was started for it alone ends then."""

    _reaper: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _root: Path | None = field(default=None, repr=False)

    def close(self) -> None:
        """Disconnect; a private cluster ends."""
        import ray

        ray.shutdown()
        if self._reaper is not None and self._reaper.stdin is not None:
            with suppress(OSError):  # gone already
                self._reaper.stdin.write(b".")
                self._reaper.stdin.close()
            self._reaper.wait()
        if self._root is not None:
            shutil.rmtree(self._root, ignore_errors=True)


def connect(cluster: Cluster, workers: int, reporter: Reporter) -> Connection:
    """Start a private cluster, or join that at the address; workers: processors that a private one offers.

    Raises:
        DeviceError: it cannot be started, or nothing answers at the address, or it does not let us in.
    """
    import ray

    if ray.is_initialized():
        raise DeviceError(
            expected="a process that is not connected to Ray yet",
            received="one that is",
            cure="call ray.shutdown() first, and pass the cluster's address",
        )
    with _silent():
        if cluster.address:
            return _joined(cluster.address, reporter)
        return _started(workers, cluster)


def strangers(address: str) -> Mapping[str, bool | None]:
    """Who gets into a cluster: {"strangers": without a token, "us": as this process would}; None: nobody can tell."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", str(_HERE / "_probe.py"), address],  # -P: a file beside it is called ray.py
            capture_output=True,
            timeout=_PROBE_S,
            check=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        found: dict[str, bool | None] = json.loads(done.stdout.splitlines()[-1])
    except (subprocess.SubprocessError, OSError, ValueError, IndexError):
        return {"strangers": None, "us": None}
    return found


def found_address(address: str) -> str:
    """HOST:PORT of an address; of "auto" that of the cluster that runs here, empty where there is none."""
    if address != "auto":
        return address
    named = os.environ.get("RAY_ADDRESS", "")
    if named and named != "auto":
        return named
    try:
        from ray._private import services
    except ImportError:
        return ""
    return str(next(iter(sorted(services.find_gcs_addresses())), ""))


def _started(workers: int, cluster: Cluster) -> Connection:
    import ray

    # Sockets lie in it, and their paths may have 107 bytes: no deep temporary directory.
    short = Path("/tmp")  # noqa: S108 - a folder of an unguessable name, for this user only, is made in it
    root = Path(tempfile.mkdtemp(prefix="autoprune-ray-", dir=short if os.access(short, os.W_OK) else None)).resolve()
    reaper = subprocess.Popen(
        [sys.executable, "-I", "-S", str(_HERE / "_reaper.py"), str(root), str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    connection = Connection(reaper, root)
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    try:
        left = ("RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS")
        with _environment({**_QUIET, **_patience.SETTINGS, **token}, without=left), _patience.patient():
            _reread()
            _loopback()
            ray.init(
                address="local",
                num_cpus=workers,
                include_dashboard=cluster.dashboard,
                object_store_memory=_OBJECTS,
                _temp_dir=str(root),
                **_common(),
            )
    except Exception as error:
        free = available()
        connection.close()
        raise DeviceError(
            expected="to start Ray on this machine", received=describe(error), cure=_patience.cure(error, free)
        ) from error
    return connection


def _joined(address: str, reporter: Reporter) -> Connection:
    import ray

    try:
        known = found_address(address)
        host, _, port = known.rpartition(":")
        socket.create_connection((host, int(port)), _REACH_S).close()
    except (OSError, ValueError) as error:
        raise DeviceError(
            expected=f"a Ray cluster at {address}",
            received=describe(error),
            cure="start one with `ray start --head`, and give its HOST:PORT",
        ) from error
    entering = strangers(known)
    if entering["us"] is False:
        raise DeviceError(
            expected=f"the token of the Ray cluster at {known}",
            received="none, or another one",
            cure="set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH to the file that has it",
        )
    if entering["strangers"]:
        reporter.warn(f"the Ray cluster at {known} {UNLOCKED}; start it with RAY_AUTH_MODE=token")
    try:
        with _environment(_QUIET):
            if host in ("127.0.0.1", "localhost", "::1"):
                _loopback()
            _reread()
            ray.init(address=known, **_common())
    except Exception as error:
        raise DeviceError(
            expected=f"to join the Ray cluster at {known}",
            received=describe(error),
            cure="use the same versions of Python and Ray on all machines",
        ) from error
    return Connection()


def _common() -> dict[str, Any]:
    import ray

    # Workers put one after the other at the front of their own: the first here is to be the first there.
    paths = [path for path in reversed(sys.path) if path and Path(path).is_dir()]
    return {
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        "namespace": NAMESPACE,
        "configure_logging": False,
        # Modules that this process finds are found by workers too, where they have the same files.
        "job_config": ray.job_config.JobConfig(_py_driver_sys_path=paths),
    }


def _loopback() -> None:
    """Listen on loopback only: with this constant as it is, Ray replaces 127.0.0.1 by the machine's address."""
    import ray._private.ray_constants as constants

    constants.ENABLE_RAY_CLUSTER = False


def _reread() -> None:
    """Ray has read tokens and modes when it was imported; let it look again."""
    import ray

    raylet: Any = ray._raylet
    loader = raylet.AuthenticationTokenLoader
    if "RAY_AUTH_MODE" not in os.environ and loader.instance().has_token(ignore_auth_mode=True):
        os.environ["RAY_AUTH_MODE"] = "token"
    raylet.Config.initialize("")
    loader.instance().reset_cache()


@contextmanager
def _silent() -> Iterator[None]:
    """Keep the signal handlers of this process, and stdout for its data: Ray replaces one and prints to the other."""
    import ray._private.worker as insides

    insides.print_to_stdstream = lambda *_, **__: None
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _environment(values: Mapping[str, str], without: tuple[str, ...] = ()) -> Iterator[None]:
    """Variables while Ray starts its processes; the driver's own are then as before."""
    names = {*values, *without, "RAY_AUTH_MODE"}
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(values)
    for name in without:
        os.environ.pop(name, None)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
