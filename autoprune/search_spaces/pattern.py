"""Where zeros may stand in a weight whose elements are zeroed one by one. Knows names and counts; not tensors."""

from __future__ import annotations

import re
from dataclasses import dataclass

from autoprune.errors import UsageError

_N_OF_M = re.compile(r"(\d+):(\d+)")
_BLOCK = re.compile(r"(\d+)x(\d+)")


@dataclass(frozen=True)
class Pattern:
    """Anywhere ("unstructured"), so that n of each m inputs that lie together stay ("2:4"), or in whole blocks ("4x4").

    rows, columns: of a block, 1 x 1 where elements stand alone; keep, among: n and m, 0 for the other patterns.
    """

    rows: int = 1
    columns: int = 1
    keep: int = 0
    among: int = 0

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """From its written form.

        Raises:
            UsageError: it is none.
        """
        if text == "unstructured":
            return cls()
        if (found := _N_OF_M.fullmatch(text)) and 0 < int(found[1]) < int(found[2]):
            return cls(keep=int(found[1]), among=int(found[2]))
        if (found := _BLOCK.fullmatch(text)) and int(found[1]) * int(found[2]) > 1:
            return cls(rows=int(found[1]), columns=int(found[2]))
        raise UsageError(
            expected="a pattern of zeros",
            received=repr(text),
            cure="write unstructured, N:M such as 2:4, or a block such as 4x4",
        )

    def __str__(self) -> str:
        if self.among:
            return f"{self.keep}:{self.among}"
        return "unstructured" if self.rows * self.columns == 1 else f"{self.rows}x{self.columns}"
