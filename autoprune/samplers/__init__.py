"""Who proposes plans. Knows the contract; each file beside this one is one sampler.

A sampler is a module with `create(context) -> optuna.samplers.BaseSampler`. Each variable of the space is one integer
parameter, the index of its level; limits of the budget are constraints of the trials, objectives have Optuna's
directions. A module may also have FORECAST (True: the context has a forecast), SEEDS (so many plans of the forecast are
evaluated before its own), SCREEN (False: nothing that it proposes is dismissed) and OPTIONS (what `--sampler-option`
takes, with defaults as text). Trials carry user attributes that samplers may learn from: PROXY_VALUE, the value of the
goal's proxy metric, and SECONDS, what the trial took. Failed trials with SCREENED were dismissed on their forecast;
those with REPEAT are known ones, told again. A sampler of several parts may leave the name of the one that proposed a
trial in its system attribute PROPOSER; those that were not the sampler's have a user attribute of that name."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Final

from optuna.distributions import IntDistribution
from optuna.samplers import BaseSampler
from torch import Tensor, nn

from autoprune.core.deprecation import renamed_attribute
from autoprune.core.forecast import Forecast
from autoprune.core.goal import SearchGoal
from autoprune.errors import UsageError
from autoprune.registry import with_defaults
from autoprune.search_spaces.space import SearchSpace
from autoprune.surgery import Traced

PROXY_VALUE: Final = "graded"
SECONDS: Final = "seconds"
SCREENED: Final = "screened"
REPEAT: Final = "same as"
PROPOSER: Final = "autoprune:arm"
#: The option of samplers that may begin with plans of a forecast, and with how many they do: a population.
WARM: Final = "warm"
_WARM_SEEDS: Final = 16
_YES, _NO = ("true", "yes", "1"), ("false", "no", "0")


@dataclass(frozen=True)
class ModelAccess:
    """The task's model and data, for samplers that learn from gradients. Nothing is made before it is asked for.

    Attributes:
        model: Makes a copy of the dense model, of which a sampler may do what it likes.
        traced: The groups of the dense model, with what belongs to each.
        batches: The batches of "train" or "calibration".
        loss: Of a model on a batch, a scalar; None where the task has none.
        ranking: Scores of slices by group (size,), by which candidates are cut.
    """

    model: Callable[[], nn.Module]
    traced: Traced
    batches: Callable[[str], Iterable[Any]]
    loss: Callable[[nn.Module, Any], Tensor] | None = None
    ranking: Mapping[str, Tensor] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class SamplerContext:
    """All that a sampler is told.

    Attributes:
        space: What may be cut, and to which levels.
        seed: Of all that is random.
        goal: Objectives, the dense model's values, limits.
        forecast: What plans cost and hurt; None unless the module asked for it.
        options: Every one of the module's OPTIONS.
        deterministic: Whether what is proposed may not depend on how long anything took.
        access: The model and its data; None where the search has none to give.
    """

    space: SearchSpace
    seed: int
    goal: SearchGoal
    forecast: Forecast | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    deterministic: bool = False
    access: ModelAccess | None = field(default=None, repr=False)

    @property
    def required_forecast(self) -> Forecast:
        """The forecast, for those who asked for one.

        Raises:
            UsageError: there is none.
        """
        if self.forecast is None:
            raise UsageError(
                expected="a forecast for this sampler",
                received="none",
                cure="let autoprune.search make the sampler, or put a Forecast into its context",
            )
        return self.forecast

    @property
    def foretold(self) -> Forecast:
        """The name of `required_forecast` before version 0.2."""
        warnings.warn("context.foretold is called required_forecast now", DeprecationWarning, stacklevel=2)
        return self.required_forecast

    @property
    def aim(self) -> SearchGoal:
        """The name of `goal` before version 0.2."""
        warnings.warn("context.aim is called context.goal now", DeprecationWarning, stacklevel=2)
        return self.goal

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many levels each variable has."""
        return self.space.sizes


Create = Callable[[SamplerContext], BaseSampler]

#: Names of before version 0.2, which are taken for one release more.
_FORMERLY: Final = {"Brief": "SamplerContext", "GRADED": "PROXY_VALUE"}


def __getattr__(name: str) -> Any:
    return renamed_attribute(__name__, name, _FORMERLY)


def distributions(space: SearchSpace) -> dict[str, IntDistribution]:
    """One integer parameter a variable: the index of its level."""
    return {variable.name: IntDistribution(0, len(variable.levels) - 1) for variable in space.variables}


def checked(module: ModuleType, given: Mapping[str, str]) -> dict[str, str]:
    """Every option of a sampler's module, as given or as it is by default.

    Raises:
        UsageError: one that it does not have, a `warm` that is neither true nor false, or a word where the default is a
            number: what range it may have, the sampler says when it is made.
    """
    known: Mapping[str, str] = getattr(module, "OPTIONS", {})
    found = with_defaults("sampler", known, given)
    for name, default in known.items():
        if _is_number(default) and not _is_number(found[name]):
            raise UsageError(
                expected=f"a number as {name}", received=repr(found[name]), cure=f"write for example {name}={default}"
            )
    if WARM in found and found[WARM].lower() not in (*_YES, *_NO):
        raise UsageError(expected=f"{WARM}=true or {WARM}=false", received=found[WARM], cure="choose one of them")
    return found


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def warm(options: Mapping[str, str]) -> bool:
    """Whether that option is set."""
    return options.get(WARM, "false").lower() in _YES


def needs_forecast(module: ModuleType, options: Mapping[str, str]) -> bool:
    """Whether a forecast is made before the search."""
    return bool(getattr(module, "FORECAST", False)) or seed_count(module, options) > 0


def may_screen(module: ModuleType) -> bool:
    """Whether what cannot help is dismissed unmeasured: not where a sampler's way leads through it."""
    return bool(getattr(module, "SCREEN", True))


def seed_count(module: ModuleType, options: Mapping[str, str]) -> int:
    """With how many plans of a forecast the search begins."""
    return _WARM_SEEDS if warm(options) else int(getattr(module, "SEEDS", 0))


def number(options: Mapping[str, str], name: str, low: float, high: float) -> float:
    """An option that is a number.

    Raises:
        UsageError: it is none, or outside [low, high].
    """
    try:
        value = float(options[name])
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise UsageError(
            expected=f"{name} from {low:g} to {high:g}", received=options[name], cure="pass a number in that range"
        )
    return value


def whole_number(options: Mapping[str, str], name: str, low: int, high: int) -> int:
    """An option that is a whole number.

    Raises:
        UsageError: it is none, or outside [low, high].
    """
    value = number(options, name, low, high)
    if not value.is_integer():
        raise UsageError(expected=f"a whole number as {name}", received=options[name], cure="pass one")
    return int(value)
