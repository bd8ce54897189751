"""Files that are whole or absent. Knows temporary names, renames and how storage fails."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from autoprune.errors import StorageError, describe

#: The end of temporary names; a kill leaves such files behind.
PARTIAL: Final = ".partial"


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file under a temporary name of its own, sync it and rename it; parents are made.

    Raises:
        StorageError: the file system refuses; an older file of that name is then intact.
    """
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}{PARTIAL}")
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


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
