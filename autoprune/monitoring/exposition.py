"""A state as text that Prometheus reads (https://prometheus.io/docs/instrumenting/exposition_formats). Knows the format
and how numbers are called there; not how they came about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from autoprune.monitoring.state import Compared, State

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX: Final = "autoprune_monitor_"
#: Labels, and a value; None where there is none yet.
Sample = tuple[Mapping[str, str], float | None]


def exposition(state: State) -> str:
    """The text, one family of samples after the other."""
    streams, held = state.streams, state.latency.limits
    latency = [({"quantile": name.replace("p", "0.")}, each) for name, each in state.latency.quantiles.items()]
    families: list[tuple[str, str, str, Iterable[Sample]]] = [
        ("calls_total", "counter", "Calls of the model", [({}, state.calls)]),
        ("failures_total", "counter", "Calls that raised", [({}, state.failures)]),
        ("latency_seconds", "gauge", "Quantiles of the last calls", latency),
        ("latency_limit_seconds", "gauge", "What the budget allows", [({"limit": h.limit}, h.bound) for h in held]),
        ("latency_kept", "gauge", "Whether calls keep it", [({"limit": h.limit}, _flag(h.kept)) for h in held]),
        ("samples_total", "counter", "Samples looked at", [({"stream": s.name}, s.samples) for s in streams]),
        ("windows_total", "counter", "Windows that ended", [({"stream": s.name}, s.windows) for s in streams]),
        ("alarms_total", "counter", "Windows with an alarm", [({"stream": s.name}, s.alarms) for s in streams]),
        ("drifting", "gauge", "Whether samples are others", [({"stream": s.name}, s.drifting) for s in streams]),
        (
            "evidence",
            "gauge",
            "Rate of false alarms a window at which this window would alarm",
            [({"stream": s.name}, s.evidence) for s in streams],
        ),
        (
            "shift_deviations",
            "gauge",
            "By how many standard deviations the window's mean is higher",
            [({"stream": s.name, "number": name}, off) for s in streams for name, off in s.shifts.items()],
        ),
        ("confidence", "gauge", "Mean of the last samples", _shares(state.confidence, "now")),
        ("confidence_baseline", "gauge", "Mean when it was made", _shares(state.confidence, "baseline")),
        ("agreement", "gauge", "Share of answers as the dense model's", _shares(state.agreement, "now")),
        ("agreement_baseline", "gauge", "The same when it was made", _shares(state.agreement, "baseline")),
        ("agreement_samples_total", "counter", "Samples that both saw", _shares(state.agreement, "samples")),
        ("overhead_ratio", "gauge", "Looking, of the model's time", [({}, state.overhead)]),
    ]
    return "".join(_family(*each) for each in families)


def _shares(compared: Compared | None, what: str) -> list[Sample]:
    return [({}, None if compared is None else getattr(compared, what))]


def _flag(kept: bool | None) -> float | None:
    return None if kept is None else float(kept)


def _family(name: str, kind: str, text: str, samples: Iterable[Sample]) -> str:
    lines = [f"{_PREFIX}{name}{_labels(labels)} {float(value):.9g}" for labels, value in samples if value is not None]
    head = [f"# HELP {_PREFIX}{name} {text}.", f"# TYPE {_PREFIX}{name} {kind}"]
    return "\n".join([*head, *lines, ""]) if lines else ""


def _labels(labels: Mapping[str, str]) -> str:
    inner = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{inner}}}" if inner else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
