"""The libraries that write files: how a missing one is said, and one that cannot express an operator. Knows words."""

from __future__ import annotations

import re
from importlib import metadata
from types import ModuleType
from typing import Final

from autoprune.errors import DeviceError, describe
from autoprune.optional_library import import_library

#: How torch's exporters and the runtimes name an operator that they do not have.
_OPERATORS: Final = (
    re.compile(r"OpOverload\(op='([\w.:]+)'"),
    re.compile(r"Operator torch\._ops\.([\w.]+)"),
    re.compile(r"EdgeOpOverload: ([\w.]+)"),
    re.compile(r"rule found for operations: ([\w.:]+)"),
    re.compile(r"find an implementation for ([\w.:]+)"),
)


def needed(library: str, extra: str) -> ModuleType:
    """A library that an exporter needs; see `import_library`."""
    return import_library(library, purpose="to export models", extra=extra)


def versions(*packages: str) -> dict[str, str]:
    """What is installed of each."""
    return {package: metadata.version(package) for package in packages}


def refused(library: str, error: BaseException) -> DeviceError:
    """What a library said of a model that it cannot express, and of which operator."""
    operator = next((found for said in _chain(error) for found in [_operator(said)] if found), "")
    return DeviceError(
        expected=f"a model that {library} can express",
        received=f"the operator '{operator}'" if operator else describe(error),
        cure="compute it of other operators, or choose another --format",
    )


def _chain(error: BaseException | None) -> list[str]:
    """What an error says, and those that led to it."""
    said = []
    while error is not None:
        said.append(str(error))
        error = error.__cause__ or error.__context__
    return said[::-1]


def _operator(said: str) -> str:
    return next((found[1] for each in _OPERATORS if (found := each.search(said))), "")
