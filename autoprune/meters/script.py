"""A program of the user's that counts joules. It runs as long as the measuring: for each line that it is sent it prints
one number, the joules since a moment of its own."""

from __future__ import annotations

import math
import shlex
import subprocess
from dataclasses import dataclass
from typing import IO

from autoprune.errors import DeviceError, describe


@dataclass
class ScriptMeter:
    """A running program. It ends when its input does, with this process at the latest."""

    command: str
    program: subprocess.Popen[str]
    ask: IO[str]
    answers: IO[str]
    last: float = -math.inf

    def read(self) -> float:
        """Raises DeviceError where it has ended, prints no number, or counts downwards."""
        said = ""
        try:
            self.ask.write("\n")
            self.ask.flush()
            said = self.answers.readline()
            joules = float(said)
        except (OSError, ValueError) as error:
            raise self._wrong(repr(said.strip()) if said else "nothing") from error
        if not self.last <= joules < math.inf:
            raise self._wrong(f"{joules:g} after {self.last:g}")
        self.last = joules
        return joules

    def _wrong(self, received: str) -> DeviceError:
        return DeviceError(
            expected=f"a count of joules, never falling, from {self.command}",
            received=received,
            cure="let it print a number for each line that it reads, until there are no more",
        )


def create(command: str = "") -> ScriptMeter | None:
    """command: as a shell would read it; None where there is none.

    Raises:
        DeviceError: it does not start, or does not count.
    """
    if not command:
        return None
    try:
        process = subprocess.Popen(
            shlex.split(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
    except (OSError, ValueError) as error:
        cure = "give the path of a program that may be run, as in --meter script:./joules.sh"
        raise DeviceError(expected=f"{command} to start", received=describe(error), cure=cure) from error
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("both were asked for as pipes")
    made = ScriptMeter(command, process, process.stdin, process.stdout)
    made.read()
    return made
