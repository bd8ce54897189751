"""What each operator does to labels. Knows the contract; each file beside this one is one family of operators.

A family is a module with `RULES`: by the operator's name ("aten.linear", "my_library.my_operator"), a function of one
`Call`. It runs once the operator has run, reads the labels of what went in (`call.trace.of(tensor)`, one a dimension),
makes those the same that must keep one size (`unify`), those whole that cannot lose a part (`freeze`), and gives every
result its own (`call.trace.set(tensor, labels)`). A rule that raises LookupError or ValueError has not understood the
call. An operator that an earlier family has a rule for keeps it; the built-in families come first.
"""

from __future__ import annotations

from autoprune import registry
from autoprune.errors import UsageError
from autoprune.surgery.labels import ONE, Atom, Label, Prod, Sum, cut, freeze, split, unify
from autoprune.surgery.rules.pointwise import broadcast, pointwise
from autoprune.surgery.tracer import Call, Rule

__all__ = [
    "ONE",
    "POINTWISE",
    "Atom",
    "Call",
    "Label",
    "Prod",
    "Rule",
    "Sum",
    "broadcast",
    "cut",
    "freeze",
    "split",
    "table",
    "unify",
]

POINTWISE: Rule = pointwise


def table() -> dict[str, Rule]:
    """Every rule by the operator's name, such as `aten.convolution`.

    Raises:
        UsageError: a family that does not import, or has no RULES.
    """
    found: dict[str, Rule] = {}
    for name in sorted(registry.names("rules"), key=lambda name: not registry.built_in("rules", name)):
        rules = getattr(registry.load("rules", name), "RULES", None)
        if not isinstance(rules, dict):
            raise UsageError(
                expected=f"RULES in the rules '{name}'",
                received="none" if rules is None else type(rules).__name__,
                cure="write RULES = {'library.operator': rule}",
            )
        found = {**rules, **found}
    return found
