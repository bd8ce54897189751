"""States, a line of JSON each, in a file that rotates. Knows files; a full disk is told once and stops no model."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from logging.handlers import RotatingFileHandler
from pathlib import Path
from sys import exc_info
from typing import Any, Final

from autoprune.errors import describe
from autoprune.store.files import storing

#: Bytes after which a new file is begun, and files that are kept beside it.
_BYTES: Final = 4 << 20
_FILES: Final = 4


class Lines(RotatingFileHandler):
    """`path`, and `path.1` to `path.4`, the latest first.

    Raises:
        StorageError: the file cannot be opened.
    """

    def __init__(self, path: Path, warn: Callable[[str], None]) -> None:
        self._warn, self._told = warn, False
        with storing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            super().__init__(path, maxBytes=_BYTES, backupCount=_FILES, encoding="utf-8")

    def write(self, state: Mapping[str, Any]) -> None:
        """Add a line."""
        self.handle(logging.makeLogRecord({"msg": json.dumps(state)}))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - as it is called
        """Say once what kept a line from being written; the next one is tried all the same."""
        error = exc_info()[1]
        if not self._told and error is not None:
            self._told = True
            self._warn(f"states are not written to {self.baseFilename}: {describe(error)}")
