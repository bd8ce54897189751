"""Where a search may run. Knows counts and addresses as a user gives them; not how machines are reached."""

from __future__ import annotations

from dataclasses import dataclass

from autoprune.errors import UsageError


@dataclass(frozen=True)
class Cluster:
    """workers: candidates evaluated at a time, 0: one a core; address: of a Ray cluster to join ("auto" or HOST:PORT),
    empty: a private one on this machine; gpus: what a worker holds of a GPU, such as 0.5; dashboard: whether a private
    cluster has Ray's dashboard."""

    workers: int = 0
    address: str = ""
    gpus: float = 0.0
    dashboard: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.workers, bool) or not isinstance(self.workers, int) or self.workers < 0:
            raise UsageError(
                expected="workers of at least 1, or 0 for one a core",
                received=repr(self.workers),
                cure="pass a whole number to workers",
            )
        if not 0 <= self.gpus < float("inf"):
            raise UsageError(expected="gpus of at least 0", received=repr(self.gpus), cure="pass a share such as 0.5")
        place, colon, port = self.address.rpartition(":")
        if self.address not in ("", "auto") and not (colon and place and port.isdigit()):
            raise UsageError(
                expected="an address as 'auto' or HOST:PORT",
                received=repr(self.address),
                cure="give that of `ray start --head`, such as 10.0.0.1:6379",
            )
