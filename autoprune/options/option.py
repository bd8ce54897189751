"""One option of a search beside its name, type and default. Knows how an option is described; not which there are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

#: Sections of the help.
WHAT, HOW, WHERE, HOW_LONG = "What is searched", "How", "Where", "How long"


@dataclass(frozen=True)
class Option:
    """What is known of one option beside its name, type and default.

    Attributes:
        help: One or two sentences for the user.
        panel: Section of the help.
        resumable: Whether it may be another one in a run that goes on.
        recorded: Whether `run.yaml` has it among the settings.
        flag: What the command line calls it where that is not its name.
        shell: Its type on the command line where that is another one.
        resumed: Its help where a run goes on, if that is another one.
        plugins: The kind of plug-ins whose names it takes.
        several: Whether it takes several of them, with commas.
    """

    help: str
    panel: str
    resumable: bool = False
    recorded: bool = True
    flag: str = ""
    shell: Any = None
    resumed: str = ""
    plugins: str = ""
    several: bool = False


def option(default: Any, text: str, panel: str, **more: Any) -> Any:
    """A field of a record of options.

    Args:
        default: Or `dict`, for an empty one.
        text: Its help.
        panel: Section of the help.
        **more: Of `Option`.
    """
    metadata = {"option": Option(text, panel, **more)}
    return (
        field(default_factory=dict, metadata=metadata) if default is dict else field(default=default, metadata=metadata)
    )
