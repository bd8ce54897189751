"""An agent's routes. Knows HTTP and its messages; leases and files do the work.

PUT    /artifacts/{sha256}              a file, by its hash
POST   /artifacts/missing               which of these are not here
POST   /leases                          a process that measures
POST   /leases/{lease}/heartbeat        it is still wanted
DELETE /leases/{lease}                  it is not
PUT    /leases/{lease}/jobs/{job}       a request to it; the same twice is the same job
GET    /leases/{lease}/jobs/{job}       what became of that
GET    /health, /metrics, /openapi.json
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import time
from collections.abc import AsyncIterator
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from autoprune import registry
from autoprune.agent.artifacts import Artifacts
from autoprune.agent.guard import Guard
from autoprune.agent.leases import ConflictError, Job, Lease, Leases, Log
from autoprune.agent.messages import (
    Granted,
    Heartbeat,
    JobId,
    JobOrder,
    JobState,
    LeaseId,
    Missing,
    Names,
    Opening,
    Refusal,
    Sha,
)
from autoprune.agent.metrics import Metrics
from autoprune.agent.settings import AgentSettings, FullError
from autoprune.errors import AutopruneError, RefusedError, UnreachableError, one_line
from autoprune.remote.links import told

#: Seconds that a request may wait for its job.
_WAIT_S: Final = 60.0
Wait = Annotated[float, Query(ge=0, le=_WAIT_S, description="Seconds to wait for the job's end.")]
FenceQuery = Annotated[int, Query(ge=1, le=2**62)]
_REFUSED: Final = {
    400: "It cannot be understood, or is not allowed",
    401: "No token, or a wrong one",
    404: "No such path",
    405: "No such method of this path",
    408: "It came too slowly",
    409: "Files are missing, or the job's id stands for another request",
    410: "The lease is over",
    413: "It is too large",
    429: "There are as many leases, jobs or uploads as may be",
    507: "The disk is full",
}
_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    code: {"model": Refusal, "description": text} for code, text in _REFUSED.items()
}


def make_app(settings: AgentSettings, folder: Path, log: Log) -> FastAPI:
    """The application. folder: for its files; log: takes one record an event."""
    metrics, began = Metrics(), time.monotonic()
    artifacts = Artifacts(folder / "artifacts", settings.cache_bytes)

    def logged(entry: Any) -> None:
        log(entry)
        metrics.logged(entry)

    leases = Leases(settings, folder, artifacts.folder, logged)
    metrics.watch(leases, artifacts)

    @contextlib.asynccontextmanager
    async def living(_app: FastAPI) -> AsyncIterator[None]:
        sweeping = asyncio.create_task(leases.sweep())
        yield
        sweeping.cancel()
        await leases.close()

    app = FastAPI(title="autoprune agent", version=version("autoprune"), lifespan=living, responses=_REFUSALS)
    app.add_middleware(Guard, settings=settings)
    app.add_exception_handler(RequestValidationError, _misunderstood)
    app.add_exception_handler(AutopruneError, _failed)

    _add_state(app, metrics, began)
    _add_artifacts(app, artifacts)
    _add_leases(app, leases, artifacts, settings)
    return app


def _add_state(app: FastAPI, metrics: Metrics, began: float) -> None:
    """Whether it is up, and what it has done."""

    @app.get("/health", responses={200: {"description": "It is up"}})
    async def health() -> dict[str, str | float]:
        return {"status": "ok", "version": version("autoprune"), "uptime_s": time.monotonic() - began}

    @app.get("/metrics", response_class=Response)
    async def measured() -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4")


def _add_artifacts(app: FastAPI, artifacts: Artifacts) -> None:
    """Files by their SHA-256."""

    @app.put("/artifacts/{name}", status_code=204, openapi_extra={
        "requestBody": {"required": True, "content": {
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}})  # fmt: skip
    async def put_artifact(name: Sha, request: Request) -> Response:
        await artifacts.put(name, request.stream())
        return Response(status_code=204)

    @app.post("/artifacts/missing")
    async def missing(names: Names) -> Missing:
        return Missing(missing=artifacts.missing(names.names))


def _add_leases(app: FastAPI, leases: Leases, artifacts: Artifacts, settings: AgentSettings) -> None:
    """Leases, and the jobs of each."""

    @app.post("/leases", status_code=201)
    async def grant(opening: Opening) -> Granted:
        _check_opening(opening, settings)
        lease = leases.grant(opening.model_dump())
        return Granted(lease=lease.id, fence=lease.fence, ttl_s=settings.ttl_s)

    @app.post("/leases/{lease}/heartbeat", status_code=204)
    async def heartbeat(lease: LeaseId, order: Heartbeat) -> Response:
        leases.find(lease, order.fence)
        return Response(status_code=204)

    @app.delete("/leases/{lease}", status_code=204)
    async def give_back(lease: LeaseId, fence: FenceQuery) -> Response:
        leases.end(leases.find(lease, fence), "its driver gave it back")
        return Response(status_code=204)

    @app.put("/leases/{lease}/jobs/{job}", response_model=JobState)
    async def order(lease: LeaseId, job: JobId, order: JobOrder, wait: Wait = 0.0) -> Response:
        found, body = leases.find(lease, order.fence), order.model_dump_json()
        absent = artifacts.missing(order.names())
        if absent and job not in found.jobs:
            error = RefusedError(expected="every file that the job names", received="not all", cure="put them first")
            return _refusal(409, error, absent)
        digest = hashlib.sha256(body.encode()).hexdigest()
        made = leases.order(
            found,
            job,
            body=digest,
            request=order.request.model_dump(),
            limit_s=order.limit_s,
            files=artifacts.used(order.names()),
        )
        return await _answer(leases, found, made, wait)

    @app.get("/leases/{lease}/jobs/{job}", response_model=JobState)
    async def look(lease: LeaseId, job: JobId, fence: FenceQuery, wait: Wait = 0.0) -> Response:
        found = leases.find(lease, fence)
        known = found.jobs.get(job)
        if known is None:
            raise RefusedError(expected="a job of this lease", received="an unknown id", cure="put it first")
        return await _answer(leases, found, known, wait)


async def _answer(leases: Leases, lease: Lease, job: Job, wait: float) -> Response:
    """What became of a job, after a while at most; waiting for it keeps the lease."""
    until = time.monotonic() + wait
    while not job.done.is_set() and (left := until - time.monotonic()) > 0:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(job.done.wait(), min(left, 1.0))
        lease.seen = time.monotonic()
    state = "done" if job.done.is_set() else job.state
    content = {"state": state, "ahead": leases.ahead(job), "alive": lease.link.alive(), "reply": job.reply}
    # NaN is what some runtimes answer: the driver refuses it, and must be told.
    return Response(json.dumps(content), media_type="application/json")


def _check_opening(opening: Opening, settings: AgentSettings) -> None:
    known = registry.names("profilers")
    if opening.profiler not in known:
        raise RefusedError(expected=f"a profiler of {', '.join(known)}", received="another", cure="name one of these")
    if opening.task and opening.task not in settings.tasks:
        raise RefusedError(
            expected="a task that the agent was started with",
            received=repr(opening.task),
            cure=f"start the agent with --task {opening.task}, or measure with a profiler that takes files",
        )


async def _misunderstood(_request: Request, error: Exception) -> Response:
    said = error.errors() if isinstance(error, RequestValidationError) else []
    where = ".".join(str(each) for each in said[0]["loc"]) if said else "request"
    what = one_line(str(said[0]["msg"]), 200) if said else "not understood"
    return _refusal(400, RefusedError(expected=f"{where} as /openapi.json says", received=what, cure="mend it"))


async def _failed(_request: Request, error: Exception) -> Response:
    """What leases and files say, with its status."""
    statuses = ((FullError, 429), (ConflictError, 409), (RefusedError, 400), (UnreachableError, 410))
    status = next((status for kind, status in statuses if isinstance(error, kind)), 507)
    if not isinstance(error, AutopruneError):
        raise error
    return _refusal(status, error)


def _refusal(status: int, error: AutopruneError, missing: list[str] | None = None) -> JSONResponse:
    return JSONResponse({"error": told(error), "missing": missing or []}, status)
