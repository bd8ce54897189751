"""Elements that a mask picks, one after the other. What the mask says of all its places alike passes on."""

from __future__ import annotations

from typing import Final

from torch import Tensor

from autoprune.surgery.labels import Prod, freeze, unify
from autoprune.surgery.rules.pointwise import broadcast
from autoprune.surgery.tracer import Call, Rule

MASKED = "picked by a mask"


def _repeated(mask: Tensor, shape: tuple[int, ...]) -> int:
    """How many trailing dimensions, once it is broadcast to the shape, the mask is the same along."""
    expanded = mask.expand(shape)
    count = 0
    while count < len(shape) and (expanded.stride(-1 - count) == 0 or shape[-1 - count] == 1):
        count += 1
    if not mask.is_meta:
        while count < len(shape) and _constant(expanded, -1 - count):
            count += 1
    return count


def _constant(mask: Tensor, dim: int) -> bool:
    return bool((mask == mask.narrow(dim, 0, 1)).all()) if mask.shape[dim] else True


def scattered(call: Call) -> None:
    """aten.masked_scatter(x, mask, source): the next elements of the source at every place of the mask.

    Raises:
        LookupError: on meta tensors, whose values cannot be seen, where the mask may differ along each dimension.
    """
    x, mask, source = call.args[:3]
    labels = broadcast([call.trace.of(x), call.trace.of(mask)])
    rows = call.trace.of(source)
    trailing = min(_repeated(mask, tuple(x.shape)), len(rows), len(labels))
    if not trailing and mask.is_meta:
        raise LookupError("what the mask is the same along")
    while trailing and [label.size for label in labels[-trailing:]] != [label.size for label in rows[-trailing:]]:
        trailing -= 1
    for place in range(1, trailing + 1):
        unify(labels[-place], rows[-place])
    for label in (*labels[: len(labels) - trailing], *rows[: len(rows) - trailing]):
        freeze(label, MASKED)
    call.trace.set(call.out, labels)


def selected(call: Call) -> None:
    """aten.masked_select(x, mask): what is picked in one row, in which trailing dimensions stay together.

    Raises:
        LookupError: as for `scattered`.
    """
    x, mask = call.args[:2]
    labels = broadcast([call.trace.of(x), call.trace.of(mask)])
    trailing = _repeated(mask, tuple(label.size for label in labels))
    kept = labels[len(labels) - trailing :]
    for label in labels[: len(labels) - trailing]:
        freeze(label, MASKED)
    whole = Prod(kept)
    call.trace.set(call.out, (Prod((*call.trace.fixed((call.out.numel() // max(whole.size, 1),), MASKED), whole)),))


RULES: Final[dict[str, Rule]] = {
    **dict.fromkeys(("aten.masked_scatter", "aten.masked_scatter_"), scattered),
    "aten.masked_select": selected,
}
