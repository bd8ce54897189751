"""Options as keyword arguments of Python functions. Knows their names, old and new, and signatures; no values."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from inspect import Parameter, Signature, signature
from typing import Any, Final, TypeVar, get_type_hints

from autoprune.errors import UsageError
from autoprune.options.described import described
from autoprune.options.search_options import SearchOptions
from autoprune.registry import suggestion

#: Options by the names that they had before, which are taken for one release more.
_FORMERLY: Final = {"epochs": "finetune_epochs"}

F = TypeVar("F", bound=Callable[..., Any])


def renamed(given: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments under the names that they have today, with a warning for each old one.

    Raises:
        UsageError: an option under both of its names.
    """
    found = dict(given)
    for old, new in _FORMERLY.items():
        if old in found:
            if new in found:
                raise UsageError(expected=f"{new}", received=f"{new} and {old}", cure=f"leave out {old}")
            warnings.warn(f"'{old}' is called '{new}' now", DeprecationWarning, stacklevel=4)
            found[new] = found.pop(old)
    return found


def checked(given: Mapping[str, Any], legal: tuple[str, ...], meaning: str) -> dict[str, Any]:
    """Keyword arguments, of which each is one of the legal names.

    Raises:
        UsageError: others; the nearest names are suggested.
    """
    found = renamed(given)
    wrong = [name for name in found if name not in legal]
    if wrong:
        cure = f"{suggestion(wrong[0], legal)}known: {', '.join(legal)}"
        raise UsageError(expected=meaning, received=", ".join(wrong), cure=cure)
    return found


def documented(*names: str, optional: bool = False) -> Callable[[F], F]:
    """A decorator for a function that takes options as `**options`: its signature and its documentation name each.

    Args:
        names: Of the options that it takes; all where none is given.
        optional: Whether each is None unless it is passed.
    """

    def decorate(function: F) -> F:
        hints = get_type_hints(SearchOptions)
        own = [each for each in signature(function).parameters.values() if each.kind is not Parameter.VAR_KEYWORD]
        chosen = [(item, option) for item, option in described() if not names or item.name in names]
        taken = []
        for item, _ in chosen:
            default = None if optional else item.default_factory() if callable(item.default_factory) else item.default
            kind = hints[item.name] | None if optional else hints[item.name]
            taken.append(Parameter(item.name, Parameter.KEYWORD_ONLY, default=default, annotation=kind))
        help_of = {item.name: (option.resumed if optional else "") or option.help for item, option in chosen}
        lines = "\n".join(f"        {name}: {text}" for name, text in help_of.items())
        text = function.__doc__ or ""
        function.__doc__ = text.replace("        **options: See `SearchOptions`.", lines)
        function.__signature__ = Signature(  # type: ignore[attr-defined]
            [*own, *taken], return_annotation=signature(function).return_annotation
        )
        return function

    return decorate
