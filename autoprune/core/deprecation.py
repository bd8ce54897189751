"""Names that have changed, and are taken for one release more. Knows modules and warnings only."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from typing import Any


def renamed_attribute(module: str, name: str, formerly: Mapping[str, str]) -> Any:
    """What a module's `__getattr__` returns for a name that it does not have.

    Args:
        module: Its name.
        name: What was asked for.
        formerly: Today's names by their old ones.

    Raises:
        AttributeError: it never had that name.
    """
    if name not in formerly:
        raise AttributeError(f"module '{module}' has no attribute '{name}'")
    warnings.warn(f"{module}.{name} is called {formerly[name]} now", DeprecationWarning, stacklevel=3)
    return getattr(sys.modules[module], formerly[name])
