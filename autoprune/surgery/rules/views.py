"""Operators that only look at the same elements in another shape."""

from __future__ import annotations

from typing import Final

from autoprune.surgery.labels import ONE, Atom, Label, Prod, freeze, split
from autoprune.surgery.tracer import Call, Rule

RESTRIDED = "laid out anew by strides"


def view(call: Call) -> None:
    """All factors in row-major order are dealt out again to the sizes of the result, from the last to the first."""
    if call.out.shape == call.args[0].shape:
        call.trace.set(call.out, call.trace.of(call.args[0]))
        return
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
    call.trace.floors += [labels[place] for place in chosen if place not in gone]
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


def strided(call: Call) -> None:
    """aten.as_strided(x, size, stride, offset): a dimension that comes back with its own size and stride passes on,
    where no other of the result reaches into it."""
    x = call.args[0]
    labels, given = call.trace.of(x), [(int(size), int(step)) for size, step in zip(*call.args[1:3], strict=True)]
    moved = call.arg(3, "storage_offset") not in (None, x.storage_offset())
    result, whole = list(call.trace.fixed(call.out.shape, RESTRIDED)), dict(enumerate(labels))
    for place, (size, step) in enumerate(given):
        others = [other for number, other in enumerate(given) if number != place and other[0] > 1]
        below = sum((count - 1) * each for count, each in others if each < step)
        alone = below < step and all(each < step or each % (step * size) == 0 for _, each in others)
        source = next((dim for dim in whole if (x.shape[dim], x.stride(dim)) == (size, step)), None)
        if size > 1 and alone and not moved and source is not None:
            result[place] = whole.pop(source)
    for label in whole.values():
        freeze(label, RESTRIDED)
    call.trace.set(call.out, result)


def windows(call: Call) -> None:
    """aten.unfold(x, dim, size, step): positions become windows of positions."""
    labels = list(call.trace.of(call.args[0]))
    freeze(labels[call.args[1]], "windows are taken of it")
    labels[call.args[1]] = Atom(call.out.shape[call.args[1] % len(labels)], "windows")
    call.trace.set(call.out, (*labels, Atom(call.args[2], "window")))


def diagonal(call: Call) -> None:
    """aten.diagonal(x, offset, dim1, dim2): two dimensions become one at the end."""
    labels = call.trace.of(call.args[0])
    pair = {each % len(labels) for each in (call.arg(2, "dim1", 0), call.arg(3, "dim2", 1))}
    for dim in pair:
        freeze(labels[dim], "a diagonal of it is taken")
    kept = [label for dim, label in enumerate(labels) if dim not in pair]
    call.trace.set(call.out, (*kept, Atom(call.out.shape[-1], "diagonal")))


def to_complex(call: Call) -> None:
    """aten.view_as_complex(x): the last dimension is a pair."""
    *labels, pair = call.trace.of(call.args[0])
    freeze(pair, "real and imaginary part")
    call.trace.set(call.out, labels)


def to_real(call: Call) -> None:
    """aten.view_as_real(x)."""
    call.trace.set(call.out, (*call.trace.of(call.args[0]), Atom(2, "real and imaginary part")))


def transform(call: Call) -> None:
    """aten._fft_*(x, dims, ...): what is transformed changes its meaning."""
    labels = list(call.trace.of(call.args[0]))
    for dim in call.args[1]:
        freeze(labels[dim], f"{call.name} runs along it")
        labels[dim] = Atom(call.out.shape[dim], f"{call.name} runs along it")
    call.trace.set(call.out, labels)


RULES: Final[dict[str, Rule]] = {
    **dict.fromkeys(("aten.view", "aten._unsafe_view", "aten.reshape", "aten._reshape_alias"), view),
    **dict.fromkeys(("aten.permute", "aten.permute_copy"), permute),
    **dict.fromkeys(("aten.transpose", "aten.t", "aten.transpose_", "aten.t_"), transpose),
    **dict.fromkeys(("aten.squeeze", "aten.squeeze_"), squeeze),
    **dict.fromkeys(("aten.unsqueeze", "aten.unsqueeze_"), unsqueeze),
    **dict.fromkeys(("aten.expand", "aten.expand_copy"), expand),
    "aten.as_strided": strided,
    "aten.unfold": windows,
    "aten.diagonal": diagonal,
    "aten.view_as_complex": to_complex,
    "aten.view_as_real": to_real,
    **dict.fromkeys(("aten._fft_r2c", "aten._fft_c2c", "aten._fft_c2r"), transform),
}
