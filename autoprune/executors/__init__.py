"""Where candidates are evaluated. Knows the contract; each file beside this one is one executor.

An executor is a module with `drive(proposals, evaluate)`: it draws a proposal whenever it has room for one, and yields
each finished trial. Proposals are drawn lazily, so that a sampler sees every result that is known by then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from autoprune.core.trial import Proposal, Trial

Evaluate = Callable[[Proposal], Trial]
Drive = Callable[[Iterator[Proposal], Evaluate], Iterator[Trial]]
