"""How a cut model is repaired before it is scored. Knows the contract; each file beside this one is one repair.

A repair is a module with `prepare(task, traced, moments) -> Repair`, called once for a dense model, and `NEEDS`:
"activations" where it wants the moments of what enters each weight, otherwise empty (and so are the moments).
"""

from __future__ import annotations

from collections.abc import Callable

from autoprune.surgery.cut_model import CutModel

#: Repairs the weights of a cut model in place.
Repair = Callable[[CutModel], None]
