"""What a shell offers for the word that is being typed. Knows names of plug-ins, tasks and runs; scripts for shells are
typer's. Where nothing is offered, shells offer files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

#: What typer takes: from what has been typed, words and what each is.
Offer = Callable[[str], list[tuple[str, str]]]
#: Where runs are that nobody has put elsewhere.
_RUNS: Final = "runs/"


def plugins(kind: str, *, several: bool = False) -> Offer:
    """Names of plug-ins of a kind; several: the last one of a list with commas."""

    def offered(incomplete: str) -> list[tuple[str, str]]:
        from autoprune import registry

        before, comma, begun = incomplete.rpartition(",") if several else ("", "", incomplete)
        names = [name for name in registry.names(kind) if name.startswith(begun) and name not in before.split(",")]
        return [(f"{before}{comma}{name}", registry.about(kind, name)) for name in names]

    return offered


def runs(incomplete: str) -> list[tuple[str, str]]:
    """Runs in `runs/` here, and in the folder that has been typed."""
    typed = incomplete[: incomplete.rfind("/") + 1]
    found = {str(path): "a run" for path in (*_runs_in(_RUNS), *_runs_in(typed))}
    return [(path, what) for path, what in sorted(found.items()) if path.startswith(incomplete)]


def subjects(incomplete: str) -> list[tuple[str, str]]:
    """Named tasks, and runs."""
    return [*plugins("tasks")(incomplete), *runs(incomplete)]


def spaces(incomplete: str) -> list[tuple[str, str]]:
    """Search spaces by name."""
    from autoprune import search_spaces

    return [(name, search_spaces.about(name)) for name in search_spaces.names() if name.startswith(incomplete)]


def _runs_in(folder: str) -> Iterator[Path]:
    from autoprune.store.reading import RECIPE

    return (path.parent for path in Path(folder).glob(f"*/{RECIPE}"))
