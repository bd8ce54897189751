"""Libraries that not everybody installs. Knows how a missing one is said; not what it is for."""

from __future__ import annotations

import importlib
from types import ModuleType

from autoprune.errors import DeviceError, describe


def import_library(library: str, *, purpose: str, extra: str) -> ModuleType:
    """Import a library that may be missing.

    Args:
        library: Name of the module.
        purpose: What it is needed for, as in "to export models".
        extra: Of this package, which installs it.

    Raises:
        DeviceError: it is not installed, or does not import; the command that installs it is named.
    """
    try:
        return importlib.import_module(library)
    except ImportError as error:
        raise DeviceError(
            expected=f"the library '{library}' {purpose}",
            received=describe(error),
            cure=f"pip install 'autoprune[{extra}]'",
        ) from error
