"""What an agent counts, for Prometheus. Knows names and units; nothing of how it came about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from autoprune.agent.artifacts import Artifacts
from autoprune.agent.leases import Leases


class Metrics:
    """Of one agent; jobs are counted as they are logged, the rest is read when it is asked for."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._jobs = Counter("autoprune_jobs", "Jobs done", ["call", "failed"], registry=self._registry)
        self._seconds = Histogram(
            "autoprune_job_seconds", "Seconds that jobs ran", ["call"], registry=self._registry,
            buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300),
        )  # fmt: skip
        self._ended = Counter("autoprune_leases_ended", "Leases that ended", registry=self._registry)

    def logged(self, entry: Mapping[str, Any]) -> None:
        """Take in a line of the log."""
        if entry["event"] == "job":
            self._jobs.labels(entry["call"], entry["failed"]).inc()
            self._seconds.labels(entry["call"]).observe(entry["end"] - entry["begin"])
        else:
            self._ended.inc()

    def watch(self, leases: Leases, artifacts: Artifacts) -> None:
        """Read these when asked."""
        about = (("autoprune_leases", "Leases held now", lambda: len(leases.known)),
                 ("autoprune_jobs_waiting", "Jobs that wait for the device", lambda: len(leases.waiting)),
                 ("autoprune_artifact_bytes", "Bytes of files kept", lambda: artifacts.size))  # fmt: skip
        for name, text, read in about:
            Gauge(name, text, registry=self._registry).set_function(read)

    def text(self) -> bytes:
        return generate_latest(self._registry)
