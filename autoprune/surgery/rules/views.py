"""Operators that only look at the same elements in another shape."""

from __future__ import annotations

from typing import Final

from autoprune.surgery.labels import ONE, Atom, Label, Prod, split
from autoprune.surgery.tracer import Call, Rule


def view(call: Call) -> None:
    """All factors in row-major order are dealt out again to the sizes of the result, from the last to the first."""
    rest: Label = Prod(call.trace.of(call.args[0]))
    result: list[Label] = []
    for size in reversed(call.out.shape):
        rest, taken = split(rest, size)
        result.insert(0, taken)
    call.trace.set(call.out, result)


def permute(call: Call) -> None:
    labels = call.trace.of(call.args[0])
    call.trace.set(call.out, [labels[place] for place in call.args[1]])


def transpose(call: Call) -> None:
    """aten.transpose(x, a, b) and aten.t(x)."""
    labels = list(call.trace.of(call.args[0]))
    first, second = call.args[1:3] if len(call.args) > 1 else (0, -1)
    if labels:
        labels[first], labels[second] = labels[second], labels[first]
    call.trace.set(call.out, labels)


def squeeze(call: Call) -> None:
    labels = call.trace.of(call.args[0])
    dim = call.arg(1, "dim")
    rank = len(labels)
    chosen = (
        range(rank)
        if dim is None
        else [each % max(rank, 1) for each in (dim if isinstance(dim, list | tuple) else [dim])]
    )
    gone = {place for place in chosen if labels[place].size == 1}
    call.trace.set(call.out, [label for place, label in enumerate(labels) if place not in gone])


def unsqueeze(call: Call) -> None:
    labels = list(call.trace.of(call.args[0]))
    labels.insert(call.args[1] % (len(labels) + 1), ONE)
    call.trace.set(call.out, labels)


def expand(call: Call) -> None:
    """A dimension of size 1 that is repeated becomes a fresh one; nothing ties it to a parameter."""
    labels = call.trace.of(call.args[0])
    new = call.out.dim() - len(labels)
    result: list[Label] = [Atom(size) for size in call.out.shape[:new]]
    for label, size in zip(labels, call.out.shape[new:], strict=True):
        result.append(label if label.size == size else Atom(size))
    call.trace.set(call.out, result)


RULES: Final[dict[str, Rule]] = {
    **dict.fromkeys(("aten.view", "aten._unsafe_view", "aten.reshape", "aten._reshape_alias"), view),
    "aten.permute": permute,
    **dict.fromkeys(("aten.transpose", "aten.t"), transpose),
    "aten.squeeze": squeeze,
    "aten.unsqueeze": unsqueeze,
    "aten.expand": expand,
}
