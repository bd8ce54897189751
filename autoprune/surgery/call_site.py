"""Where in the model's code a call was made. Knows frames of Python; nothing of what was called."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

import torch

from autoprune.surgery import example

#: What only passes on what the model's code asked for.
_BETWEEN: Final = tuple(f"{Path(each).parent}{os.sep}" for each in (str(torch.__file__), __file__))
_PASSING: Final = (f"{os.sep}einops{os.sep}",)
#: Its file's folder and name are shown.
_SHOWN: Final = 2


def call_site() -> str:
    """`folder/file.py:line` of the innermost code that is the model's; empty where all of it is torch's."""
    frame = sys._getframe(1)
    while True:
        file = frame.f_code.co_filename
        if file == example.__file__ or frame.f_back is None:
            return ""
        if not file.startswith(_BETWEEN) and not any(each in file for each in _PASSING):
            return f"{'/'.join(Path(file).parts[-_SHOWN:])}:{frame.f_lineno}"
        frame = frame.f_back
