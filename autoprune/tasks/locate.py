"""From what a user wrote to a task: a built-in name, `file.py:callable` or `package.module:callable`."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from autoprune import registry
from autoprune.core.reporter import Reporter
from autoprune.errors import AutopruneError, TaskError, UsageError, describe
from autoprune.tasks.task import Task


def locate(spec: str, reporter: Reporter) -> Task:
    """Find and call what makes the task; the result knows its `spec`, absolute, so that another process finds it.

    Raises:
        UsageError: nothing is there under that name.
        TaskError: it is there, but does not make a task.
    """
    place, colon, attribute = spec.rpartition(":")
    if not colon and spec.endswith(".py"):
        raise UsageError(expected="file.py:callable", received=spec, cure=f"name what makes the task: {spec}:task")
    if not colon:
        made: Task = registry.load("tasks", spec).task(reporter)
        return replace(made, spec=spec)
    if place.endswith(".py"):
        file = Path(place).expanduser().resolve()
        return _called(_from_file(file), attribute, f"{file}:{attribute}")
    return _called(_imported(place), attribute, spec)


def _called(module: ModuleType, attribute: str, spec: str) -> Task:
    make: Callable[[], Any] | None = getattr(module, attribute, None)
    if not callable(make):
        known = ", ".join(
            name for name, value in vars(module).items() if callable(value) and value.__module__ == module.__name__
        )
        raise UsageError(
            expected=f"a callable '{attribute}' in {spec.rpartition(':')[0]}",
            received="none of that name" if make is None else type(make).__name__,
            cure=f"name one of: {known or 'none found'}",
        )
    try:
        made = make()
    except AutopruneError:
        raise
    except (Exception, SystemExit) as error:
        raise TaskError(
            expected=f"{spec} to return an autoprune.Task",
            received=describe(error),
            cure="call it alone to find the cause",
        ) from error
    if not isinstance(made, Task):
        raise TaskError(
            expected=f"{spec} to return an autoprune.Task",
            received=type(made).__name__,
            cure="return autoprune.Task(...) or autoprune.Classification(...)",
        )
    return replace(made, spec=spec)


def _from_file(file: Path) -> ModuleType:
    if not file.is_file():
        raise UsageError(
            expected="a Python file", received=f"{file}, which does not exist", cure="check the path before the colon"
        )
    name = f"autoprune_task_{file.stem}"
    found = importlib.util.spec_from_file_location(name, file)
    if found is None or found.loader is None:
        raise UsageError(expected="a Python file", received=str(file), cure="give a path that ends in .py")
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module
    if str(file.parent) not in sys.path:  # for modules beside it, also those that are imported later
        sys.path.insert(0, str(file.parent))
    try:
        found.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise TaskError(
            expected=f"{file} to import", received=describe(error), cure="run it with python to find the cause"
        ) from error
    return module


def _imported(name: str) -> ModuleType:
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            raise UsageError(
                expected=f"an importable module '{name}'",
                received=describe(error),
                cure="give file.py:callable or package.module:callable",
            ) from error
        raise TaskError(
            expected=f"{name} to import", received=describe(error), cure="import it alone to find the cause"
        ) from error
