"""OpenVINO's own files (IR): `model.xml` and `model.bin`, made of the ONNX graph. Knows how they lie in one content."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from autoprune.exporters import Subject, Written
from autoprune.exporters._libraries import needed, refused, versions
from autoprune.exporters.onnx import graph_of

openvino = needed("openvino", "openvino")

PROFILER: Final = "openvino"
PRECISIONS: Final = ("float32",)
FROM_DENSE: Final = False
RUNS_CODE: Final = False
_FILE: Final = "model.xml"
_USAGE: Final = """import openvino

model = openvino.Core().compile_model("model.xml", "CPU")
outputs = model({{{names}}})"""


def write(subject: Subject, folder: Path) -> Written:
    graph = graph_of(subject)
    try:
        model = openvino.Core().read_model(graph.content)
    except Exception as error:
        raise refused("OpenVINO", error) from error
    openvino.save_model(model, folder / _FILE, compress_to_fp16=False)
    return Written(
        file=_FILE,
        usage=_USAGE.format(names=", ".join(f'"{name}": ...' for name in graph.inputs)),
        inputs=graph.inputs,
        varies=graph.varies,
        notes=graph.notes,
        versions=versions("openvino", "onnx", "torch"),
    )


def opened(folder: Path, subject: Subject) -> bytes:
    """The graph's text, and behind it its weights: one content, as a profiler takes it."""
    del subject
    return (folder / _FILE).read_bytes() + (folder / _FILE).with_suffix(".bin").read_bytes()
