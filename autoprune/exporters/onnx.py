"""ONNX graphs by torch's exporter. Knows that a cut model's graph is the dense one's with other weights and sizes.

A graph that is deployed is exported once, with its batch and its sequence left to vary where the model lets them; those
of candidates have the sizes that are measured. Exporting takes seconds, as the model is traced and translated; putting
other weights into a graph takes milliseconds. So the dense model is exported once, its weights are taken out, and the
graph is optimised while they are unknown, so that none is folded into a constant. A cut model brings its own. A model
without some of the layers has another graph, which serves the next one without the same layers. See
`exporters._literals` for the sizes in the graph.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from autoprune.errors import DeviceError, UsageError, describe
from autoprune.exporters import Subject, Written
from autoprune.exporters._libraries import needed, refused, versions
from autoprune.exporters._literals import Literals, places
from autoprune.exporters._results import with_results
from autoprune.exporters._varying import freely, names_of
from autoprune.surgery.example import Example
from autoprune.surgery.modes import evaluating
from autoprune.tasks.task import batch_size

onnx = needed("onnx", "onnxruntime")
optimizer = needed("onnxscript.optimizer", "onnxruntime")

PROFILER: Final = "onnxruntime"
PRECISIONS: Final = ("float32",)
FROM_DENSE: Final = False
RUNS_CODE: Final = False
_FILE: Final = "model.onnx"
_USAGE: Final = """import onnxruntime

session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
outputs = session.run(None, {{{names}}})"""
#: The oldest set of operators that torch's exporter writes.
_OLDEST: Final = 18
#: What of a node's notes is kept: the modules that it comes from.
_KEPT_NOTES = ("pkg.torch.onnx.name_scopes",)
#: A domain of operators that the optimiser does not know.
_ELSEWHERE = "autoprune.kept"


@dataclass(frozen=True)
class _Base:
    """The graph of all models that have the same weights by name; weights: those names with ONNX's number of their data
    types; literals: the sizes in it."""

    graph: Any
    weights: Mapping[str, int]
    literals: Literals


class OnnxExporter:
    """Graphs of one dense model and of what is cut from it."""

    def __init__(self, dense: nn.Module, example: Example, counts: Mapping[str, int]) -> None:
        self._example, self._counts = example, counts
        self._bases: dict[frozenset[str], _Base] = {}
        self._dense = self._learned(dense, {})[0]

    def inputs(self) -> Mapping[str, Any]:
        names = [each.name for each in self._dense.graph.input]
        try:
            arrays = [tensor.detach().cpu().numpy() for tensor in self._example.tensors]
        except TypeError as error:
            raise DeviceError(
                expected="example inputs that numpy has a type for",
                received=describe(error),
                cure="give float32 inputs",
            ) from error
        return dict(zip(names, arrays, strict=True))

    def derived(self, model: nn.Module, counts: Mapping[str, int]) -> bytes | None:
        base = self._bases.get(frozenset(_named(model)))
        if base is None:
            return None
        graph = _copied(base.graph)
        if not base.literals.write(graph, self._sizes(model, counts)):
            return None
        return _filled(graph, base.weights, model)

    def anew(self, model: nn.Module, counts: Mapping[str, int]) -> bytes:
        graph, weights = self._learned(model, counts)
        return _filled(_copied(graph), weights, model)

    def _learned(self, model: nn.Module, counts: Mapping[str, int]) -> tuple[Any, dict[str, int]]:
        """The model's own graph without weights, and their names; it is the base of its kind, or tells it more."""
        graph, weights = self._exported(model)
        names, sizes = frozenset(_named(model)), self._sizes(model, counts)
        if names not in self._bases:
            self._bases[names] = _Base(graph, weights, Literals(graph, sizes))
        elif weights == self._bases[names].weights:
            self._bases[names].literals.learn(graph, sizes)
        return graph, weights

    def _sizes(self, model: nn.Module, counts: Mapping[str, int]) -> dict[Any, int]:
        """What sizes in the graph are made of: those of every tensor, and what is left of each group."""
        dims = {(name, dim): size for name, tensor in _named(model).items() for dim, size in enumerate(tensor.shape)}
        return {**dims, **self._counts, **counts}

    def _exported(self, model: nn.Module) -> tuple[Any, dict[str, int]]:
        """The graph without weights; their names with ONNX's number of their data types."""
        try:
            with _quiet(), torch.no_grad(), evaluating(model):
                example = self._example.fresh()
                program = torch.onnx.export(
                    model, example.args, kwargs=example.kwargs, dynamo=True, optimize=False, verbose=False
                )
                if program is None:
                    raise RuntimeError("torch.onnx.export returned nothing")  # noqa: TRY301 - told as its other errors
                graph = program.model.graph
                names = [name for name in graph.initializers if name in _named(model)]
                values = [graph.initializers.pop(name) for name in names]
                types = {str(value.name): int(value.dtype or 0) for value in values}
                for value in values:
                    value.const_value = None
                graph.inputs.extend(values)
                # Not its `optimize`: that merges constants that are equal in this model and not in the next. Nor are
                # views its business: one that changes nothing here may change something there.
                views = [node for node in graph if node.op_type == "Reshape"]
                for node in views:
                    node.domain = _ELSEWHERE
                optimizer.fold_constants(program.model)
                for node in views:
                    node.domain = ""
                optimizer.remove_unused_nodes(program.model)
                for value in values:
                    graph.inputs.remove(value)
                proto = onnx.ModelProto()
                proto.CopyFrom(program.model_proto)
        except Exception as error:
            raise refused("torch.onnx.export", error) from error
        _strip(proto.graph)
        return proto, types


def create(dense: nn.Module, example: Example, counts: Mapping[str, int]) -> OnnxExporter:
    return OnnxExporter(dense, example, counts)


@dataclass(frozen=True)
class Graph:
    """A graph that is deployed: its file, the names of its inputs, what of them varies, or why nothing does."""

    content: bytes
    inputs: tuple[str, ...]
    varies: tuple[str, ...]
    notes: tuple[str, ...]


def graph_of(subject: Subject) -> Graph:
    """The graph of a finished model.

    Raises:
        UsageError: an opset that cannot be written.
        DeviceError: the model cannot be expressed.
    """
    newest = onnx.defs.onnx_opset_version()
    if subject.opset is not None and not _OLDEST <= subject.opset <= newest:
        raise _no_opset(subject.opset, f"from {_OLDEST} to {newest}")

    model = with_results(subject.model, subject.example)

    def export(example: Example, shapes: dict[str, Any] | None) -> tuple[Example, Any]:
        fresh = example.fresh()
        with _quiet(), torch.no_grad(), evaluating(model):
            program = torch.onnx.export(
                model,
                fresh.args,
                kwargs=fresh.kwargs,
                dynamo=True,
                dynamic_shapes=shapes,
                opset_version=subject.opset,
                verbose=False,
            )
        if program is None:
            raise RuntimeError("torch.onnx.export returned nothing")
        return example, program.model_proto

    try:
        (example, proto), notes = freely(model, subject.example, export)
    except Exception as error:
        raise refused("torch.onnx.export", error) from error
    opset = next(each.version for each in proto.opset_import if not each.domain)
    if subject.opset not in (None, opset):
        raise _no_opset(subject.opset, f"that its operators can be written in, such as {opset}")
    varies = _named_dimensions(proto.graph, example)
    for node, _ in places(proto.graph):  # where in the user's files it comes from
        del node.metadata_props[:]
    return Graph(_serialised(proto), tuple(each.name for each in proto.graph.input), varies, notes)


def write(subject: Subject, folder: Path) -> Written:
    graph = graph_of(subject)
    return replace(keep(graph.content, graph.inputs, folder), varies=graph.varies, notes=graph.notes)


def keep(content: bytes, inputs: Sequence[str], folder: Path) -> Written:
    (folder / _FILE).write_bytes(content)
    sets = onnx.ModelProto.FromString(content).opset_import
    return Written(
        file=_FILE,
        usage=_USAGE.format(names=", ".join(f'"{name}": ...' for name in inputs)),
        inputs=tuple(inputs),
        versions=versions("onnx", "onnxscript", "torch"),
        facts={"opset": next(each.version for each in sets if not each.domain)},
    )


def opened(folder: Path, subject: Subject) -> bytes:
    del subject
    return (folder / _FILE).read_bytes()


def _no_opset(opset: int | None, range_: str) -> UsageError:
    return UsageError(expected=f"an opset {range_}", received=str(opset), cure="choose one of these, or leave it out")


def _named_dimensions(graph: Any, example: Example) -> tuple[str, ...]:
    """Give the symbols of dimensions that vary the names of what they are, in place; which those are."""
    symbols: dict[str, str] = {}
    batch = batch_size(example)
    for value, tensor in zip(graph.input, example.tensors, strict=False):
        for place, name in names_of(tensor, batch).items():
            dim = value.type.tensor_type.shape.dim[place]
            if dim.dim_param:
                symbols.setdefault(dim.dim_param, name)
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in symbols:
                dim.dim_param = symbols[dim.dim_param]
    return tuple(sorted(set(symbols.values())))


def _copied(graph: Any) -> Any:
    made = onnx.ModelProto()
    made.CopyFrom(graph)
    return made


def _filled(graph: Any, weights: Mapping[str, int], model: nn.Module) -> bytes:
    """The file of a graph that the model's weights are put into, in place."""
    named = _named(model)
    for name, data_type in weights.items():
        data = named[name].detach().cpu().contiguous()
        tensor = graph.graph.initializer.add(name=name, data_type=data_type, dims=data.shape)
        tensor.raw_data = data.flatten().view(torch.uint8).numpy().tobytes() if data.numel() else b""
    return _serialised(graph)


def _serialised(graph: Any) -> bytes:
    try:
        content: bytes = graph.SerializeToString()
    except Exception as error:  # protobuf has a type of its own for more than 2 GiB
        raise DeviceError(
            expected="a model that fits into one ONNX file of 2 GiB",
            received=describe(error),
            cure="use a profiler of torch modules",
        ) from error
    return content


def _named(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers under all of their names."""
    return {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }


def _strip(graph: Any) -> None:
    """Drop shapes that would be wrong for a cut model, and notes that are longer than the graph."""
    del graph.value_info[:]
    for output in graph.output:
        output.type.tensor_type.ClearField("shape")
    for node, _ in places(graph):
        kept = [note for note in node.metadata_props if note.key in _KEPT_NOTES]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter's progress and its notes on other packages are not the user's business."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)  # a version that cannot be converted to is told by its error alone
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
