"""Programs of ExecuTorch (.pte) for processors of phones and boards. Knows how a model is lowered to XNNPACK."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Final

from autoprune.exporters import Subject, Written
from autoprune.exporters._libraries import needed, refused, versions
from autoprune.exporters.torch_export import exported

exir = needed("executorch.exir", "executorch")
xnnpack = needed("executorch.backends.xnnpack.partition.xnnpack_partitioner", "executorch")

PROFILER: Final = "executorch"
PRECISIONS: Final = ("float32",)
FROM_DENSE: Final = False
RUNS_CODE: Final = False
_FILE: Final = "model.pte"
_USAGE: Final = """from executorch.runtime import Runtime

method = Runtime.get().load_program("model.pte").load_method("forward")
outputs = method.execute([...])"""


def write(subject: Subject, folder: Path) -> Written:
    (_, program), _ = exported(subject, varying=False)  # its memory is planned: sizes without a bound have no plan
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            lowered = exir.to_edge_transform_and_lower(program, partitioner=[xnnpack.XnnpackPartitioner()])
            content = lowered.to_executorch().buffer
    except Exception as error:
        raise refused("ExecuTorch", error) from error
    (folder / _FILE).write_bytes(content)
    return Written(file=_FILE, usage=_USAGE, versions=versions("executorch", "torch"), facts={"backend": "xnnpack"})


def opened(folder: Path, subject: Subject) -> bytes:
    del subject
    return (folder / _FILE).read_bytes()
