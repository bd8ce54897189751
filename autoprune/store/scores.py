"""Scores of slices as a run keeps them, as plain numbers: for who shows them without torch."""

from __future__ import annotations

from array import array
from collections.abc import Container
from pathlib import Path
from typing import Final

from safetensors import SafetensorError, deserialize

from autoprune.errors import StorageError, describe

RANKING: Final = "ranking.safetensors"
_CODES: Final = {"F32": "f", "F64": "d"}


def read_scores(run: Path, names: Container[str]) -> dict[str, array[float]]:
    """Of these groups the score of each slice; nothing where a run keeps none.

    Raises:
        StorageError: the file is damaged.
    """
    path = run / RANKING
    try:
        stored = deserialize(path.read_bytes())  # type: ignore[no-untyped-call]
    except FileNotFoundError:
        return {}
    except (OSError, SafetensorError) as error:
        raise StorageError(
            expected=f"scores of slices in {path}", received=describe(error), cure="restore it, or remove it"
        ) from error
    kinds = {name: (_CODES.get(each["dtype"], ""), each["data"]) for name, each in stored if name in names}
    return {name: array(code, bytes(data)) for name, (code, data) in kinds.items() if code}
