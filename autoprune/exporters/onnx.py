"""ONNX graphs by torch's exporter. Knows that a cut model's graph is the dense one's with other weights and sizes.

Exporting takes seconds, as the model is traced and translated; putting other weights into a graph takes milliseconds.
So the dense model is exported once, its weights are taken out, and the graph is optimised while they are unknown, so
that none is folded into a constant. A cut model brings its own. A model without some of the layers has another graph,
which serves the next one without the same layers. See `exporters._literals` for the sizes in the graph.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.errors import DeviceError, describe
from autoprune.exporters._literals import Literals, places
from autoprune.surgery.example import Example
from autoprune.surgery.modes import evaluating

try:
    import onnx
    import onnxscript.optimizer
except ImportError as error:
    raise DeviceError(
        expected="the libraries 'onnx' and 'onnxscript' to export models",
        received=describe(error),
        cure="pip install 'autoprune[onnxruntime]'",
    ) from error

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
                onnxscript.optimizer.fold_constants(program.model)
                for node in views:
                    node.domain = ""
                onnxscript.optimizer.remove_unused_nodes(program.model)
                for value in values:
                    graph.inputs.remove(value)
                proto = onnx.ModelProto()
                proto.CopyFrom(program.model_proto)
        except Exception as error:
            raise DeviceError(
                expected="a model that torch.onnx.export can express",
                received=describe(error),
                cure="export it alone to find the cause, or use --profiler torch",
            ) from error
        _strip(proto.graph)
        return proto, types


def create(dense: nn.Module, example: Example, counts: Mapping[str, int]) -> OnnxExporter:
    return OnnxExporter(dense, example, counts)


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
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
