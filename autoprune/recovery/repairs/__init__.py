"""How a cut model is repaired before it is scored. Knows the contract; each file beside this one is one repair.

A repair is a module with `prepare(task, traced, moments) -> Repair`, called once for a dense model, and `NEEDS`:
"activations" where it wants the moments of what enters each weight, otherwise empty (and so are the moments).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor, nn

#: Repair a cut model in place: the model, what it kept of each group that was cut, and by weight which elements may be
#: other than zero (bool, of the cut weight's shape; only weights that were thinned out).
Repair = Callable[[nn.Module, Mapping[str, Tensor], Mapping[str, Tensor]], None]
