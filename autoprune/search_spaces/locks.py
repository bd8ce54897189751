"""Which groups stay whole because somebody says so. Knows patterns on names of groups; not tensors, or search spaces.

A pattern that matches nothing is refused: what it was to protect, or to cut, would be the contrary of what was asked.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from autoprune.core.group import Group
from autoprune.errors import UsageError

_LIST: Final = "`autoprune inspect` lists every group"
#: How many names are suggested.
_NEAR: Final = 3


def patterns(given: object, what: str) -> tuple[str, ...]:
    """One regular expression, or several, as a tuple.

    Args:
        given: A text, an iterable of texts, or None for none.
        what: Who is told in the error, such as "freeze".

    Raises:
        UsageError: something else, or no regular expression.
    """
    texts = [given] if isinstance(given, str) else [] if given is None else given
    found = tuple(texts) if isinstance(texts, Iterable) and not isinstance(texts, bytes | Mapping) else (given,)
    for text in found:
        if not isinstance(text, str) or not _is_pattern(text):
            raise UsageError(
                expected=f"regular expressions on names of groups for {what}",
                received=repr(text),
                cure=f"write for example {what}='^stem'; {_LIST}",
            )
    return tuple(map(str, found))


def _is_pattern(text: str) -> bool:
    try:
        re.compile(text)
    except re.error:
        return False
    return True


def locks(groups: Sequence[Group], *, freeze: Sequence[str] = (), only: Sequence[str] = ()) -> dict[str, str]:
    """Why groups stay whole, by name: those that `freeze` matches, and where there is `only` those it does not match.

    What is tied to a group that `only` matches may be cut with it.

    Raises:
        UsageError: a pattern that matches no group.
    """
    named = {group.name: group.name for group in groups}
    for what, given in (("freeze", freeze), ("only", only)):
        for pattern in given:
            check_matches(pattern, named, groups, f"{what}=")
    wanted = [group for group in groups if _hit(only, group.name) is not None]
    ties = {group.tie for group in wanted if group.tie}
    reasons = {}
    for group in groups:
        found = _hit(freeze, group.name)
        if found is not None:
            reasons[group.name] = f"kept whole by freeze='{found}'"
        elif only and group not in wanted and group.tie not in ties:
            reasons[group.name] = "not in what only= names"
    return reasons


def check_only(groups: Sequence[Group], only: Sequence[str]) -> None:
    """Refuse to cut nothing of what was named.

    Args:
        groups: With every reason why one of them stays whole.
        only: Patterns that match some of them.

    Raises:
        UsageError: all that a pattern matches stays whole.
    """
    for pattern in only:
        hits = [group for group in groups if re.search(pattern, group.name)]
        if hits and all(group.frozen_reason for group in hits):
            raise UsageError(
                expected=f"a group that can be cut for only='{pattern}'",
                received=f"'{hits[0].name}', which stays whole: {hits[0].frozen_reason}",
                cure=f"leave it out, or name another; {_LIST}",
            )


def check_matches(pattern: str, subjects: Mapping[str, str], groups: Sequence[Group], what: str) -> None:
    """Refuse a pattern that matches nothing.

    Args:
        pattern: A regular expression that is searched for.
        subjects: By name of a group, in what it is searched.
        groups: Whose members are looked at for a cure.
        what: Where it stands, such as "freeze=".

    Raises:
        UsageError: it is in none; near names, or groups with such a tensor, are suggested.
    """
    if any(re.search(pattern, text) for text in subjects.values()):
        return
    inside = [g.name for g in groups if any(re.search(pattern, str(member)) for member in g.members)]
    plain = re.sub(r"\\(?=\W)|[\^$]", "", pattern)
    near = difflib.get_close_matches(plain, subjects.values(), n=_NEAR)
    if inside:
        cure = f"such tensors are cut with {_listed(inside)}: name that"
    elif near:
        cure = f"did you mean {_listed(near)}?"
    else:
        cure = f"there are {_listed(list(subjects.values()))}"
    raise UsageError(
        expected=f"a group whose name {what} matches",
        received=f"'{pattern}', which matches none",
        cure=f"{cure}; {_LIST}",
    )


def _hit(given: Iterable[str], name: str) -> str | None:
    """The first pattern that a name has."""
    return next((pattern for pattern in given if re.search(pattern, name)), None)


def _listed(names: Sequence[str]) -> str:
    more = ", ..." if len(names) > _NEAR else ""
    return ", ".join(f"'{name}'" for name in names[:_NEAR]) + more
