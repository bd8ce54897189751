"""Which plug-ins are used unless others are asked for. Knows names only."""

from __future__ import annotations

from typing import Final

CRITERION: Final = "hessian"
REPAIR: Final = "sequential"
SAMPLER: Final = "auto"
#: Where there is no quality to trade a cost for.
PLAIN_SAMPLER: Final = "nsga2"
PROFILER: Final = "torch"
EXECUTOR: Final = "inline"
#: What a student and its teacher are compared by: the task's distance, where it has one.
DISTILL: Final = "logits"
#: Cuts at once, before any training.
SCHEDULE: Final = "one-shot"
#: Adds nothing to what is descended.
REGULARIZER: Final = "none"
