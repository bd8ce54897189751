"""Folders that transformers opens. Knows what is said of them; `models.own_library` writes and reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from autoprune.exporters import Subject, Written
from autoprune.exporters._libraries import needed, versions
from autoprune.exporters._varying import dimensions
from autoprune.models.configuration import pretrained
from autoprune.models.own_library import CONFIG, read
from autoprune.models.own_library import write as written

needed("transformers", "transformers")

PROFILER: Final = "torch"
PRECISIONS: Final = ("float32",)
FROM_DENSE: Final = False
RUNS_CODE: Final = False
_USAGE: Final = """import transformers

model = transformers.{kind}.from_pretrained(".")"""
_HELPED: Final = """import autoprune.hf

model = autoprune.hf.load(".")  # or `from_pretrained` of the Auto class that has {kind}"""
_NEEDED: Final = (
    "the configuration of transformers cannot say these sizes: open it with `autoprune.hf.load`, or, after "
    "`import autoprune.hf`, with the Auto class that has its class"
)


def write(subject: Subject, folder: Path) -> Written:
    dense: Any = pretrained(subject.dense).get("") if subject.dense is not None else None
    alone = written(subject.model, subject.form, None if dense is None else dense.config.to_dict(), folder)
    return Written(
        file=CONFIG,
        usage=(_USAGE if alone else _HELPED).format(kind=type(subject.model).__name__),
        versions=versions("transformers", "torch"),
        facts={"class": type(subject.model).__name__, "opened_by": "transformers" if alone else "autoprune.hf"},
        varies=dimensions(subject.example),
        notes=() if alone else (_NEEDED,),
    )


def opened(folder: Path, subject: Subject) -> Any:
    del subject
    return read(folder)
