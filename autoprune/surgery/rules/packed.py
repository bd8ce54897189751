"""Sequences of different lengths, packed one step after the other: what each step has of features passes on."""

from __future__ import annotations

from typing import Final

from autoprune.surgery.labels import freeze
from autoprune.surgery.tracer import Call, Rule

STEPS = "steps of sequences"


def packed(call: Call) -> None:
    """aten._pack_padded_sequence(x, lengths, batch_first): (t, n, ...) or (n, t, ...) -> (steps, ...) and how many run
    at each."""
    one, other, *features = call.trace.of(call.args[0])
    for label in (one, other):
        freeze(label, STEPS)
    data, running = call.out
    call.trace.set(data, (*call.trace.fixed(data.shape[:1], STEPS), *features))
    call.trace.set(running, call.trace.fixed(running.shape, STEPS))


def padded(call: Call) -> None:
    """aten._pad_packed_sequence(data, running, ...): the way back."""
    _, *features = call.trace.of(call.args[0])
    out, lengths = call.out
    call.trace.set(out, (*call.trace.fixed(out.shape[:2], STEPS), *features))
    call.trace.set(lengths, call.trace.fixed(lengths.shape, STEPS))


RULES: Final[dict[str, Rule]] = {"aten._pack_padded_sequence": packed, "aten._pad_packed_sequence": padded}
