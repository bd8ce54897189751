"""The precision of each model, where a search chooses it. Knows names and bits; not what makes a model of another one.

It is a variable as a layer that may be dropped is one: a group of its own, whose slices are bits. Of a plan it is no
count but a name, so that whoever cuts does not see it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from autoprune.core.group import Group
from autoprune.core.measurement import FULL, QUANTISED
from autoprune.core.plan import Plan
from autoprune.errors import UsageError

#: Precisions that lie in the file of a model, so that one runtime runs models of all of them side by side.
_BITS: Final = {QUANTISED: 8, FULL: 32}
NAME: Final = "precision"
GROUP: Final = Group(NAME, "precision", _BITS[FULL], (), floor=_BITS[QUANTISED])
LEVELS: Final = tuple((bits,) for bits in _BITS.values())


def precisions_of(text: str) -> tuple[str, ...]:
    """The precisions that an option names, the one of the dense model first.

    Raises:
        UsageError: several, of which a runtime does not run one beside the other.
    """
    named = {name.strip() for name in str(text).split(",")}
    if len(named) > 1 and named != set(_BITS):
        raise UsageError(
            expected="one precision, or several that lie in a model's file", received=repr(text), cure="float32,int8"
        )
    return tuple(sorted(named, key=lambda name: -_BITS.get(name, 0)))


def planned(counts: Mapping[str, int]) -> Plan:
    """The plan of counts by group, with those of the precision as its name."""
    names = {bits: name for name, bits in _BITS.items()}
    kept = {name: count for name, count in counts.items() if name != NAME}
    return Plan.of(kept, names[counts[NAME]] if NAME in counts else "")


def counted(plan: Plan) -> dict[str, int]:
    """The inverse; a plan without a precision is one in float32."""
    return {NAME: _BITS[plan.precision or FULL], **plan.kept}
