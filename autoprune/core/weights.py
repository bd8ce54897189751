"""Names with weights, as options write them: `logits,features:0.5`. Knows the form; not what is named."""

from __future__ import annotations

import math

from autoprune.errors import UsageError


def weighted(text: object, kind: str, example: str) -> dict[str, float]:
    """Weights by name, in the order in which they were written.

    Args:
        text: Names with commas between, each with a colon and a weight where that is not 1.
        kind: Of what is named, for the errors: "distillers".
        example: How it is written well, for the errors.

    Raises:
        UsageError: a name that is missing or there twice, or a weight that is no positive, finite number.
    """
    found: dict[str, float] = {}
    for part in text.split(",") if isinstance(text, str) else [""]:
        name, colon, number = (each.strip() for each in part.partition(":"))
        if not name or name in found:
            raise UsageError(
                expected=f"{kind} by name, each once", received=repr(text), cure=f"write for example {example}"
            )
        try:
            weight = float(number) if colon else 1.0
        except ValueError:
            weight = math.nan
        if not 0 < weight < math.inf:
            raise UsageError(
                expected=f"a positive number as the weight of '{name}'",
                received=repr(number),
                cure=f"write for example {name}:0.5",
            )
        found[name] = weight
    return found
