"""Numbers that travel with what is needed to trust them. Knows records only; `autoprune.measure` makes them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Final

from autoprune.errors import DeviceError, StorageError, UsageError, describe


@dataclass(frozen=True)
class Measurement:
    """A number with its unit, count, interval, origin and validity.

    Attributes:
        metric: What it is of, as a key such as "latency.p99".
        value: The estimate in SI units.
        unit: "s", "B", "J", "1/s" or "1".
        low: Lower end of its 95 % interval.
        high: Upper end of it.
        n: Observations behind it.
        valid: Whether nothing disturbed it beyond what the interval says.
        converged: Whether the interval is as narrow as was asked.
        device: Fingerprint of what measured it.
        profiler: Name of what ran the model.
        split: Of the data, for a quality.
        note: Why it is not valid, or not converged.
    """

    metric: str
    value: float
    unit: str
    low: float
    high: float
    n: int = 1
    valid: bool = True
    converged: bool = True
    device: str = ""
    profiler: str = ""
    split: str = ""
    note: str = ""

    @classmethod
    def exact(cls, metric: str, value: float, unit: str) -> Measurement:
        """A number without uncertainty, such as a count of parameters."""
        return cls(metric, value, unit, value, value)

    def to_json(self) -> dict[str, Any]:
        """Every field that says something: empty texts are left out."""
        return {key: value for key, value in asdict(self).items() if value != "" and key != "metric"}

    @classmethod
    def from_json(cls, metric: str, data: Any) -> Measurement:
        """The inverse of `to_json`.

        Raises:
            StorageError: it has other fields, or others than finite numbers where those belong.
        """
        try:
            found = cls(metric, **data)
            good = all(math.isfinite(number) for number in (found.value, found.low, found.high))
        except TypeError as error:
            raise _unreadable(metric, describe(error)) from error
        if not good:
            raise _unreadable(metric, "a number that is not finite")
        return found


@dataclass(frozen=True)
class Block:
    """Raw timings of consecutive runs: a profiler fills in the first four fields, the bench that ran it the others.

    wall_s, cpu_s: seconds of each run; involuntary_switches: how often the kernel took the processor away; throttled:
    the device said that it slowed itself down; begin: monotonic seconds; pressure: share of the block in which
    something on the machine waited for a processor; stolen: share of the machine's processor time that a hypervisor
    gave to others; joules: energy of one run, None where nothing meters it.
    """

    wall_s: tuple[float, ...]
    cpu_s: tuple[float, ...]
    involuntary_switches: int = 0
    throttled: bool = False
    begin: float = 0.0
    pressure: float = 0.0
    stolen: float = 0.0
    joules: float | None = None

    @classmethod
    def from_json(cls, raw: Any) -> Block:
        """A block that came from another process.

        Raises:
            DeviceError: a timing that is missing, zero, negative, infinite or not a number.
        """
        try:
            block = cls(**{**raw, "wall_s": tuple(map(float, raw["wall_s"])), "cpu_s": tuple(map(float, raw["cpu_s"]))})
            good = len(block.wall_s) == len(block.cpu_s) > 0
            good = good and all(0 < seconds < math.inf for seconds in block.wall_s)
            good = good and all(0 <= seconds < math.inf for seconds in block.cpu_s)
        except (KeyError, TypeError, ValueError) as error:
            raise _untrusted(describe(error)) from error
        if not good:
            raise _untrusted("a timing that is not")
        return block

    @property
    def end(self) -> float:
        return self.begin + sum(self.wall_s)


def _unreadable(metric: str, received: str) -> StorageError:
    cure = "restore the file from a copy, or use the version of autoprune that wrote it"
    return StorageError(expected=f"a measurement of {metric} in a record", received=received, cure=cure)


def _untrusted(received: str) -> DeviceError:
    return DeviceError(
        expected="timings that are positive and finite",
        received=received,
        cure="check the clock of the device, or the profiler's run_block",
    )


#: What of a model is run: one forward pass of the example inputs; of a decoder, that pass as the one of a prompt that
#: fills the cache, or the step of the last token with all before it in the cache.
FORWARD: Final = "forward"
WORKS: Final = (FORWARD, "prefill", "decode")

#: Numbers that a model may be asked to compute in.
PRECISIONS: Final = ("float32", "bfloat16", "float16", "int8")
#: That models are trained in, and that of the artifact which others are held against.
FULL: Final = PRECISIONS[0]
#: That a file has of itself: who packs a model makes it so, with the profiler's own tool.
QUANTISED: Final = "int8"


@dataclass(frozen=True)
class RunSpec:
    """How a model is run while it is measured: threads, batch size (0: as the example inputs are), precision, what of
    it is run, and what counts its energy (empty: what the profiler declares)."""

    threads: int = 1
    batch: int = 0
    precision: str = "float32"
    work: str = FORWARD
    meter: str = ""

    def __post_init__(self) -> None:
        for name, value, least in (("threads", self.threads, 1), ("batch", self.batch, 0)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                cure = f"pass a whole number to {name}"
                raise UsageError(expected=f"{name} of at least {least}", received=repr(value), cure=cure)
        if self.precision not in PRECISIONS:
            cure = f"known: {', '.join(PRECISIONS)}"
            raise UsageError(expected="a known precision", received=repr(self.precision), cure=cure)
        if self.work not in WORKS:
            raise UsageError(expected="a known work", received=repr(self.work), cure=f"known: {', '.join(WORKS)}")


@dataclass(frozen=True)
class Capabilities:
    """What a profiler declares of itself and its device.

    metrics: measured costs it provides; format: of the artifacts it takes ("module": a torch module, else the name of
    an exporter); precisions: it can compute in; sparsity: kinds of zeros in weights that really run faster
    ("unstructured", "2:4", ...); exclusive: whether the device must be locked while it measures; cpu_time: whether
    processor time of its process is the work that it does, where it runs on one thread; meter: what could count its
    energy ("cpu", "nvidia", or empty); most_handles: how many models it can hold at once; patience: seconds that an
    answer may take beyond what the models before give reason to expect.
    """

    metrics: tuple[str, ...]
    format: str = "module"
    precisions: tuple[str, ...] = ("float32",)
    sparsity: tuple[str, ...] = ()
    exclusive: bool = True
    cpu_time: bool = True
    meter: str = "cpu"
    most_handles: int = 16
    patience: float = 30.0
