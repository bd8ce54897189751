"""The cost of plans as a sum of parts that depend on few variables each. Knows models taken apart; measures nothing.

A piece of a model (a unit of work, a parameter) has numbers, its sizes, each of which is a sum of products of counts
kept; where a dropped layer took it away, they are 0. A few models that were taken apart tell which variables a piece
depends on and those sums exactly; what the piece costs at every other combination of levels follows without cutting
another model.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from autoprune.core.forecast import CostForecast, ModuleCost, Term
from autoprune.search_spaces.space import SearchSpace, Variable

Floats = NDArray[np.float64]
Levels = tuple[int, ...]
#: Combinations of levels that one piece is tabulated for; beyond it, its variables are taken to add up.
_COMBINATIONS: Final = 2048
#: By how much a size may miss its sum of products: sizes are whole numbers.
_MISS: Final = 0.25
_RIDGE: Final = 1e-3
#: Digits of what one module costs.
_SHORT: Final = 4


@dataclass(frozen=True)
class Piece:
    """One piece of one model. name: the same in every model that has it (several of one name are told apart by their
    order); module: to which it belongs; sizes: its numbers; cost: what it would cost at others."""

    name: Hashable
    module: str
    sizes: tuple[int, ...]
    cost: Callable[[tuple[int, ...]], float]


@dataclass(frozen=True)
class _Part:
    """A piece under every plan: (plans, 1 + numbers) whether it is there, and its sizes; 0 where it is not."""

    module: str
    sizes: Floats
    priced: Callable[[tuple[int, ...]], float]

    def cost(self, sizes: tuple[int, ...]) -> float:
        return self.priced(sizes[1:]) if sizes[0] else 0.0


@dataclass(frozen=True)
class _Table:
    """What a part adds at every combination of levels of these variables; a plain number where there are none."""

    module: str
    variables: tuple[int, ...]
    values: Floats


def forecast_of(
    metric: str, space: SearchSpace, plans: Sequence[Levels], models: Sequence[Sequence[Piece]]
) -> CostForecast:
    """What every plan costs. models: the pieces of each plan, given as levels; the dense one is among them, and for
    each variable one that cuts it alone.

    Where pieces do not correspond, as in graphs that a runtime fuses differently, variables are taken to add up, and
    nobody knows what is whose.
    """
    totals = [sum(piece.cost(piece.sizes) for piece in model) for model in models]
    tables = list(_tables(space, plans, _parts(models)))
    offset, terms = _summed(tables)
    found = CostForecast(metric, offset, tuple(terms), modules=_by_module(tables))
    offset, terms = additive(space, plans, totals)
    plain = CostForecast(metric, offset, tuple(terms))
    settled = [space.settled(plan) for plan in plans]

    def miss(made: CostForecast) -> float:
        return sum(abs(made.at(plan) - c) for plan, c in zip(settled, totals, strict=True))

    return min(found, plain, key=miss)


def _parts(models: Sequence[Sequence[Piece]]) -> list[_Part]:
    """Every piece that any of the models has, in all of them."""
    found = dict[Hashable, tuple[Piece, dict[int, Piece]]]()
    for k, model in enumerate(models):
        seen = Counter[Hashable]()
        for piece in model:
            _, places = found.setdefault((piece.name, seen[piece.name], len(piece.sizes)), (piece, {}))
            seen[piece.name] += 1
            places[k] = piece
    parts = []
    for first, places in found.values():
        sizes = np.zeros((len(models), 1 + len(first.sizes)))
        for k, piece in places.items():
            sizes[k] = (1, *piece.sizes)
        parts.append(_Part(first.module, sizes, first.cost))
    return parts


def _tables(space: SearchSpace, plans: Sequence[Levels], parts: Iterable[_Part]) -> Iterator[_Table]:
    """What parts cost under every plan, in sums of tables."""
    features = [_counts(variable) for variable in space.variables]
    levels, settled = np.array(plans), np.array([space.settled(plan) for plan in plans])
    dense = np.array([len(variable.levels) - 1 for variable in space.variables])
    alone = {int(np.flatnonzero(row != dense)[0]): k for k, row in enumerate(levels) if (row != dense).sum() == 1}
    whole = int(np.flatnonzero((levels == dense).all(axis=1))[0])
    for part in parts:
        near = tuple(v for v, k in sorted(alone.items()) if (part.sizes[k] != part.sizes[whole]).any())
        if not near:
            yield _Table(part.module, (), np.array(part.cost(tuple(int(size) for size in part.sizes[whole]))))
            continue
        shape = tuple(len(features[v][0]) for v in near)
        sums = _sums(part.sizes, levels[:, near], [features[v] for v in near])
        if sums is None or math.prod(shape) > _COMBINATIONS:
            for variable, values in _additive(part, settled, near, shape).items():
                yield _Table(part.module, variable, values)
            continue
        chosen, weights = sums
        grid = np.array(list(itertools.product(*map(range, shape))))
        sizes = np.rint(_products([row[grid[:, k]] for k, row in enumerate(chosen)]) @ weights).astype(int)
        costs = np.array([part.cost(tuple(row)) for row in sizes.tolist()]).reshape(shape)
        yield _Table(part.module, near, costs)


def _summed(tables: Iterable[_Table]) -> tuple[float, list[Term]]:
    """(what does not depend on the plan, a term for all that depends on the same variables)."""
    constant, found = 0.0, dict[tuple[int, ...], Floats]()
    for each in tables:
        if each.variables:
            found[each.variables] = found.get(each.variables, np.zeros(each.values.shape)) + each.values
        else:
            constant += float(each.values)
    return constant, [Term(near, values.shape, tuple(values.ravel().tolist())) for near, values in found.items()]


def _by_module(tables: Iterable[_Table]) -> tuple[ModuleCost, ...]:
    """The same of each module, in numbers that are short: they are looked at, and nothing is solved by them."""
    owned: dict[str, list[_Table]] = {}
    for each in tables:
        owned.setdefault(each.module, []).append(each)
    found = []
    for name, own in owned.items():
        offset, terms = _summed(own)
        short = (replace(term, values=tuple(float(f"{value:.{_SHORT}g}") for value in term.values)) for term in terms)
        found.append(ModuleCost(name, offset, tuple(short)))
    return tuple(found)


def additive(space: SearchSpace, plans: Sequence[Levels], costs: Sequence[float]) -> tuple[float, list[Term]]:
    """The same from whole models' costs alone: variables are taken to add up."""
    levels, target = np.array([space.settled(plan) for plan in plans]), np.array(costs)
    sizes = space.sizes
    columns = np.column_stack(
        [np.ones(len(levels)), *(levels[:, v] / max(size - 1, 1) for v, size in enumerate(sizes))]
    )
    found = _solved(columns, target)
    terms = [
        Term((v,), (size,), tuple((np.arange(size) / max(size - 1, 1) * max(found[1 + v], 0.0)).tolist()))
        for v, size in enumerate(sizes)
    ]
    return float(found[0]), terms


def _counts(variable: Variable) -> list[Floats]:
    """Counts by level of the variable's groups; of those that are each other's multiples, one."""
    found: list[Floats] = []
    for column in np.array(variable.levels, float).T:
        if not any(_alike(column, each) for each in found):
            found.append(column)
    # In the order of levels: a list for each feature.
    return found


def _alike(left: Floats, right: Floats) -> bool:
    columns = np.column_stack([np.ones(len(right)), right])
    solved, *_ = np.linalg.lstsq(columns, left, rcond=None)
    return bool(np.abs(columns @ solved - left).max() < _MISS)


def _sums(sizes: Floats, levels: Floats, features: Sequence[Sequence[Floats]]) -> tuple[list[Floats], Floats] | None:
    """For each variable the counts, and for each product of counts its weight in every size; None where sizes are no
    such sums."""
    for chosen in itertools.islice(itertools.product(*features), 8):
        columns = _products([row[levels[:, k]] for k, row in enumerate(chosen)])
        scale = np.abs(columns).max(axis=0) + 1e-12
        weights, *_ = np.linalg.lstsq(columns / scale, sizes, rcond=None)
        if np.abs((columns / scale) @ weights - sizes).max() < _MISS:
            return list(chosen), weights / scale[:, None]
    return None


def _products(counts: Sequence[Floats]) -> Floats:
    """(N, 2^k) one, each count, and all their products."""
    columns = [np.ones(len(counts[0]))]
    for row in counts:
        columns += [column * row for column in columns]
    return np.column_stack(columns)


def _additive(
    part: _Part, levels: NDArray[np.int64], near: tuple[int, ...], shape: tuple[int, ...]
) -> dict[tuple[int, ...], Floats]:
    """The piece's cost under the plans that were seen, as a sum over its variables."""
    costs = np.array([part.cost(tuple(int(size) for size in row)) for row in part.sizes])
    shares = [levels[:, v] / max(size - 1, 1) for v, size in zip(near, shape, strict=True)]
    found = _solved(np.column_stack([np.ones(len(costs)), *shares]), costs)
    terms: dict[tuple[int, ...], Floats] = {
        (v,): np.arange(size) / max(size - 1, 1) * max(found[1 + k], 0.0)
        for k, (v, size) in enumerate(zip(near, shape, strict=True))
    }
    terms[near[:1]] = terms[near[:1]] + found[0]
    return terms


def _solved(columns: Floats, target: Floats) -> Floats:
    ridge = np.sqrt(_RIDGE) * np.eye(columns.shape[1])
    ridge[0, 0] = 0.0
    found, *_ = np.linalg.lstsq(
        np.vstack([columns, ridge]), np.concatenate([target, np.zeros(columns.shape[1])]), rcond=None
    )
    return np.asarray(found, np.float64)
