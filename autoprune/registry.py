"""Names to plug-ins. Knows folders, file names and entry points; imports a plug-in only when it is asked for.

A built-in plug-in is one file: `autoprune/samplers/nsga2.py` is what `--sampler nsga2` runs, and
`autoprune/profilers/torch_compile.py` what `--profiler torch-compile` runs. Third parties declare an entry point in the
group `autoprune.<kind>` that resolves to a module of the same shape.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import re
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Final

from autoprune.errors import UsageError, describe

#: kind -> the package whose file names are the plug-ins' names
KINDS: Final[dict[str, str]] = {
    "criteria": "autoprune.criteria",
    "distillers": "autoprune.finetuning.distillers",
    "executors": "autoprune.executors",
    "exporters": "autoprune.exporters",
    "gates": "autoprune.training.gates",
    "meters": "autoprune.meters",
    "policies": "autoprune.policies",
    "profilers": "autoprune.profilers",
    "regularizers": "autoprune.finetuning.regularizers",
    "repairs": "autoprune.recovery.repairs",
    "rules": "autoprune.surgery.rules",
    "samplers": "autoprune.samplers",
    "schedules": "autoprune.training.schedules",
    "tasks": "autoprune.tasks.builtin",
    "trackers": "autoprune.trackers",
}
_SINGULAR: Final[dict[str, str]] = {"criteria": "criterion", "policies": "policy"}


def names(kind: str) -> tuple[str, ...]:
    """Every known name of a kind, sorted; nothing is imported."""
    return tuple(sorted(_builtin(kind) | set(_third_party(kind))))


def known(kind: str, name: str) -> None:
    """Raise UsageError where there is no plug-in of that name; nothing is imported."""
    if not isinstance(name, str) or name.replace("_", "-") not in names(kind):
        raise unknown(_SINGULAR.get(kind, kind.rstrip("s")), name, names(kind))


def load(kind: str, name: str) -> ModuleType:
    """Import the plug-in `name`.

    Raises:
        UsageError: there is no such name (close ones are suggested), or a third party's plug-in does not import.
        DeviceError: a profiler or exporter whose library is not installed.
    """
    name = name.replace("_", "-") if isinstance(name, str) else name
    if name in _builtin(kind):
        return importlib.import_module(f"{KINDS[kind]}.{name.replace('-', '_')}")
    known(kind, name)
    entry = _third_party(kind)[name]
    try:
        module: ModuleType = entry.load()
    except ImportError as error:
        raise UsageError(
            expected=f"an importable plug-in behind '{name}'",
            received=describe(error),
            cure=f"repair or uninstall the package that declares {entry.value}",
        ) from error
    return module


def about(kind: str, name: str) -> str:
    """What a plug-in says of itself in one line, or which package declares it; nothing is imported."""
    if name in _builtin(kind):
        source = _folder(kind) / f"{name.replace('-', '_')}.py"
        return first_sentence(ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or "")
    entry = _third_party(kind)[name]
    return f"from {entry.dist.name if entry.dist else 'another package'} ({entry.value})"


def first_sentence(text: str) -> str:
    """Up to the first full stop that ends a sentence, on one line."""
    return re.split(r"(?<!\bal)(?<!\beq)\.(?:\s|$)", " ".join(text.split()), maxsplit=1)[0]


def unknown(noun: str, name: str, known: tuple[str, ...]) -> UsageError:
    """The error for a name nobody registered, with the nearest known one."""
    return UsageError(
        expected=f"a known {noun}",
        received=f"'{name}'",
        cure=f"{suggestion(str(name), known)}known: {', '.join(known) or 'none'}",
    )


def with_defaults(noun: str, known: Mapping[str, str], given: Mapping[str, object]) -> dict[str, str]:
    """Every option of a plug-in, as given or as it is by default.

    Args:
        noun: What the plug-in is.
        known: Its options, with defaults as text.
        given: Some of them, by name.

    Raises:
        UsageError: no mapping, or an option that it does not have.
    """
    if not isinstance(given, Mapping):
        raise UsageError(
            expected=f"options of a {noun} by name", received=repr(given), cure='pass for example {"NAME": "0.5"}'
        )
    wrong = sorted(given.keys() - known.keys())
    if wrong:
        raise UsageError(
            expected=f"options of this {noun}",
            received=", ".join(wrong),
            cure=f"{suggestion(wrong[0], known)}known: {', '.join(known) or 'none'}",
        )
    return {**known, **{name: str(value) for name, value in given.items()}}


def suggestion(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """The question whether a known name was meant: one that is spelled alike, or the only one that begins so.

    Args:
        name: As it was written.
        known: The names that there are.
        cutoff: How much alike spellings must be, from 0 to 1.

    Returns:
        "did you mean 'NAME'? ", or nothing where no name is near.
    """
    known = tuple(known)
    longer = [each for each in known if len(name) > 1 and each.startswith(name)]
    close = longer if len(longer) == 1 else difflib.get_close_matches(name, known, n=1, cutoff=cutoff)
    return f"did you mean '{close[0]}'? " if close else ""


def built_in(kind: str, name: str) -> bool:
    """Whether the name is a file of this package."""
    return name in _builtin(kind)


def _builtin(kind: str) -> set[str]:
    return {path.stem.replace("_", "-") for path in _folder(kind).glob("*.py") if not path.stem.startswith("_")}


def _folder(kind: str) -> Path:
    return Path(__file__).parent.joinpath(*KINDS[kind].split(".")[1:])


def _third_party(kind: str) -> dict[str, metadata.EntryPoint]:
    return {entry.name.replace("_", "-"): entry for entry in metadata.entry_points(group=f"autoprune.{kind}")}
