"""What may be sent to an agent. Knows shapes and limits; a request that is not described here is refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Sha = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9 ._-]{1,64}$")]
Plugin = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
LeaseId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
JobId = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")]
Fence = Annotated[int, Field(ge=1, le=2**62, description="The fencing number that came with the lease.")]


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)


class Spec(_Message):
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    batch: Annotated[int, Field(ge=0, le=2**20)] = 0
    precision: Literal["float32", "bfloat16", "float16", "int8"] = "float32"
    work: Literal["forward", "prefill", "decode"] = "forward"
    meter: Plugin | Literal[""] = ""


class Opening(_Message):
    """What a lease's process measures with."""

    profiler: Plugin
    spec: Spec = Spec()
    task: Annotated[str, Field(max_length=200, description="One that the agent was started with.")] = ""
    memory: Annotated[float, Field(gt=0, le=2.0**50, description="Bytes that a model may use.")] | None = None


class Artifact(_Message):
    """A model by the hashes of its parts, which were put before."""

    format: Literal["onnx", "module", "unit"]
    content: Annotated[list[Sha], Field(max_length=8192)] = []
    slices: Annotated[
        dict[str, Annotated[list[Annotated[int, Field(ge=0, le=2**31)]], Field(max_length=2**20)]],
        Field(max_length=4096),
    ] = {}
    inputs: Sha | Literal[""] = ""
    expected: Sha | Literal[""] = ""
    precision: Literal["", "int8"] = ""

    def names(self) -> set[str]:
        return {*self.content, self.inputs, self.expected} - {""}


class Prepare(_Message):
    call: Literal["prepare"]
    name: Name
    artifact: Artifact
    warm_s: Annotated[float, Field(ge=0, le=60)] = 0.15


class Rounds(_Message):
    call: Literal["rounds"]
    names: Annotated[list[Name], Field(min_length=1, max_length=64)]
    count: Annotated[int, Field(ge=1, le=1000)]
    min_s: Annotated[float, Field(ge=0, le=60)]
    min_runs: Annotated[int, Field(ge=1, le=100_000)]
    seed: Annotated[int, Field(ge=0, le=2**62)]


class Settle(_Message):
    call: Literal["settle"]
    limit_s: Annotated[float, Field(ge=0, le=300)]


class Speed(_Message):
    call: Literal["speed"]


class Memory(_Message):
    call: Literal["memory"]
    artifact: Artifact


class Release(_Message):
    call: Literal["release"]
    name: Name


Request = Annotated[Prepare | Rounds | Settle | Speed | Memory | Release, Field(discriminator="call")]


class JobOrder(_Message):
    """One request to a lease's process. limit_s: how long it may run, once its turn has come."""

    fence: Fence
    limit_s: Annotated[float, Field(gt=0, le=7200)]
    request: Request

    def names(self) -> set[str]:
        """Of the files that it needs."""
        return self.request.artifact.names() if isinstance(self.request, Prepare | Memory) else set()


class Heartbeat(_Message):
    fence: Fence


class Names(_Message):
    names: Annotated[list[Sha], Field(max_length=16384)]


class Granted(_Message):
    lease: LeaseId
    fence: Fence
    ttl_s: float


class Missing(_Message):
    missing: list[Sha]


class Failure(_Message):
    """kind: CrashedError, TimedOutError, ExhaustedError (of memory), RefusedError, UnreachableError (lease over) ..."""

    kind: str
    expected: str
    received: str
    cure: str


class JobState(BaseModel):
    """reply: once it is done; alive: whether the process may be asked again; ahead: jobs that come first."""

    state: Literal["queued", "running", "done"]
    ahead: int = 0
    alive: bool = True
    reply: dict[str, Any] | None = None


class Refusal(_Message):
    """Why a request was not obeyed; missing: files to put first."""

    error: Failure
    missing: list[Sha] = []
