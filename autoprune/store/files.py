"""Files that are whole or absent. Knows temporary names, who still writes under one, renames and how storage fails."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from autoprune.errors import StorageError, describe

#: Names of what is written, as `_partial` makes them.
_PARTIAL: Final = re.compile(r".+\.[0-9a-f]{8}\.partial")


@contextmanager
def partial_folder(folder: Path) -> Iterator[Path]:
    """A new folder that gets its name when all that is done in it is done, and is gone where not; parents are made.

    Raises:
        StorageError: the file system refuses.
    """
    partial = _partial(folder)
    with storing(folder):
        partial.mkdir(parents=True)
        held = os.open(partial, os.O_RDONLY)
    try:
        _hold(held)
        yield partial
        with storing(folder):
            partial.rename(folder)
    finally:
        os.close(held)
        shutil.rmtree(partial, ignore_errors=True)


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file under a temporary name of its own, sync it and rename it; parents are made.

    Raises:
        StorageError: the file system refuses; an older file of that name is then intact.
    """
    partial = _partial(path)
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("w+b") as file:
                _hold(file.fileno())
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def left_in(folders: Iterable[Path]) -> list[Path]:
    """Files and folders right in these folders that a kill left half written; what somebody still writes is none.

    Raises:
        StorageError: a folder cannot be read.
    """
    found = []
    for folder in folders:
        with storing(folder):
            inside = sorted(folder.iterdir()) if folder.is_dir() else []
        found += [each for each in inside if _PARTIAL.fullmatch(each.name) and not _held(each)]
    return found


def remove(path: Path) -> None:
    """Remove a file, a link or a whole folder.

    Raises:
        StorageError: the file system refuses.
    """
    with storing(path):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def append(path: Path, line: str, *, sync: bool = True) -> None:
    """Append one line, and sync it where it is kept nowhere else."""
    with storing(path), path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
        if sync:
            file.flush()
            os.fsync(file.fileno())


def whole_lines(path: Path) -> list[str]:
    """The lines of a log that is appended to; what a kill left of its last line is cut off. No file has no lines."""
    if not path.exists():
        return []
    with storing(path):
        content = path.read_bytes()
        end = content.rfind(b"\n") + 1
        if end != len(content):
            with path.open("r+b") as file:
                file.truncate(end)
    return _decoded(content[:end])


def lines_of(path: Path) -> list[str]:
    """The same for who only reads: nothing is cut off, as another process may be writing the line."""
    if not path.exists():
        return []
    with storing(path):
        content = path.read_bytes()
    return _decoded(content[: content.rfind(b"\n") + 1])


def _partial(path: Path) -> Path:
    return path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")


def _hold(descriptor: int) -> None:
    """Say that somebody writes it, until the descriptor is closed, at the latest by the end of the process."""
    with suppress(OSError):  # where nothing can be locked, what looks left is not cleared either
        # Shared, as network file systems lock nothing else that is open to read alone, like a folder.
        fcntl.flock(descriptor, fcntl.LOCK_SH)


def _held(path: Path) -> bool:
    """Whether somebody still writes it, as far as can be told."""
    try:
        descriptor = os.open(path, (os.O_RDONLY if path.is_dir() else os.O_RDWR) | os.O_NOFOLLOW)
    except OSError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _decoded(content: bytes) -> list[str]:
    return content.decode(errors="replace").splitlines()


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turn what the file system says into a StorageError that names the path."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            expected=f"to write {path}",
            received=describe(error),
            cure="free space, or choose a writable place",
        ) from error
