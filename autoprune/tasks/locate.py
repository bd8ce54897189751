"""From what a user wrote to a task: a built-in name, `file.py:callable` or `package.module:callable`."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from autoprune import registry
from autoprune.core.reporter import Reporter
from autoprune.errors import AutopruneError, TaskError, UsageError, describe
from autoprune.tasks.task import Task

#: How the names begin under which modules are known that were found by the path of a file.
BY_PATH: Final = "autoprune_task_"


def locate(spec: str, reporter: Reporter) -> Task:
    """Find and call what makes the task; the result knows its `spec`, absolute, so that another process finds it.

    Raises:
        UsageError: nothing is there under that name.
        TaskError: it is there, but does not make a task.
    """
    place, colon, attribute = spec.rpartition(":")
    if not colon and spec.endswith(".py"):
        raise UsageError(expected="file.py:callable", received=spec, cure=f"name what makes the task: {spec}:task")
    if is_registered(spec):
        made: Task = registry.load("tasks", spec).task(reporter)
        return replace(made, spec=spec)
    if place.endswith(".py"):
        file = Path(place).expanduser().resolve()
        return _called(_from_file(file), attribute, f"{file}:{attribute}")
    return _called(_imported(place), attribute, spec)


def is_registered(spec: str) -> bool:
    """Whether a name says a registered task, built in or of an installed package, and no place where code lies."""
    return ":" not in spec


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
    root, name = package_of(file)
    return _alone(file) if root is None else _of_package(file, root, name)


def package_of(file: Path) -> tuple[Path | None, str]:
    """Of a file in a package: the folder that the package lies in, and the file's name as one of its modules; otherwise
    None, and its own name."""
    parts = [] if file.stem == "__init__" else [file.stem]
    folder = file.parent
    while (folder / "__init__.py").is_file() and "." not in folder.name:
        parts.append(folder.name)
        folder = folder.parent
    return (None if folder == file.parent else folder), ".".join(reversed(parts))


def _alone(file: Path) -> ModuleType:
    name = f"{BY_PATH}{file.stem}"
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
        relative = isinstance(error, ImportError) and "relative import" in str(error)
        beside = f"put an empty __init__.py into {file.parent}, which makes it a package"
        raise TaskError(
            expected=f"{file} to import",
            received=describe(error),
            cure=beside if relative else "run it with python to find the cause",
        ) from error
    return module


def _of_package(file: Path, root: Path, name: str) -> ModuleType:
    """The file as a module of its package, so that relative imports are found and nothing is there twice."""
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    if str(file.parent) not in sys.path:  # for what is imported by its bare name, after all that is found otherwise
        sys.path.append(str(file.parent))
    try:
        module = importlib.import_module(name)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            raise _taken(file, root, name) from error
        raise TaskError(
            expected=f"{file} to import as {name}",
            received=describe(error),
            cure=f"run `python -c 'import {name}'` in {root} to find the cause",
        ) from error
    if Path(module.__file__ or "").resolve() != file:
        raise _taken(file, root, name)
    sys.modules[f"{BY_PATH}{name}"] = (
        module  # who sends it to another machine sees that this process found it by a path
    )
    return module


def _taken(file: Path, root: Path, name: str) -> UsageError:
    top = name.partition(".")[0]
    other = sys.modules.get(top)
    return UsageError(
        expected=f"{file} as the module {name}",
        received=f"another {top}, {getattr(other, '__file__', None) or 'a namespace'}",
        cure=f"rename {root / top}, or remove its __init__.py if it is no package",
    )


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
