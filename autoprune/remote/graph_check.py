"""Whether an ONNX file is only a graph. Knows what else such a file could bring; runs nothing.

A graph may name files for its tensors, operators of other libraries, and those would be opened by the runtime with its
rights. None of that is needed to measure, so a file that has it is refused before a runtime sees it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from autoprune.errors import RefusedError, describe

#: Sets of operators that runtimes bring themselves.
_DOMAINS: Final = ("", "ai.onnx", "ai.onnx.ml")


def check_graph(content: bytes) -> None:
    """Raises RefusedError where a file is no ONNX model, or has tensors elsewhere, or operators of other libraries."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.ModelProto.FromString(content)
    except DecodeError as error:
        raise RefusedError(expected="an ONNX model", received=describe(error), cure="export the model anew") from error
    functions = {(function.domain, function.name) for function in model.functions}
    trained = [graph for info in model.training_info for graph in (info.initialization, info.algorithm)]
    for graph in (model.graph, *trained, *model.functions):
        for node in _nodes(graph):
            if node.domain not in _DOMAINS and (node.domain, node.op_type) not in functions:
                raise RefusedError(
                    expected="standard ONNX operators only",
                    received=f"{node.domain}.{node.op_type}"[:120],
                    cure="export the model without custom operators",
                )
        for tensor in _tensors(graph):
            if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
                raise RefusedError(
                    expected="tensors within the ONNX file",
                    received=f"external data of '{tensor.name}'"[:120],
                    cure="save the model as a single file",
                )


def _nodes(graph: Any) -> Iterator[Any]:
    """Every node of a graph or function, those of graphs within included."""
    for node in graph.node:
        yield node
        for inner in _graphs(node):
            yield from _nodes(inner)


def _tensors(graph: Any) -> Iterator[Any]:
    """Every tensor that a graph or function holds, those of its nodes' attributes included."""
    yield from getattr(graph, "initializer", ())
    for sparse in getattr(graph, "sparse_initializer", ()):
        yield from (sparse.values, sparse.indices)
    for default in getattr(graph, "attribute_proto", ()):
        yield from _held(default)
    for node in graph.node:
        for attribute in node.attribute:
            yield from _held(attribute)
        for inner in _graphs(node):
            yield from _tensors(inner)


def _held(attribute: Any) -> Iterator[Any]:
    if attribute.HasField("t"):
        yield attribute.t
    yield from attribute.tensors
    for sparse in (
        *([attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else ()),
        *attribute.sparse_tensors,
    ):
        yield from (sparse.values, sparse.indices)


def _graphs(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs
