"""What each operator does to labels, one file a family. A rule reads a call's labels and sets those of its results."""

from autoprune.surgery.rules import (
    contraction,
    factories,
    indexing,
    norms,
    packed,
    pointwise,
    reductions,
    segments,
    spatial,
    views,
)
from autoprune.surgery.tracer import Rule

POINTWISE: Rule = pointwise.pointwise


def table() -> dict[str, Rule]:
    """Every rule by the operator's name, such as `aten.convolution`."""
    families = (pointwise, contraction, norms, reductions, views, segments, indexing, spatial, packed, factories)
    return {name: rule for family in families for name, rule in family.RULES.items()}
