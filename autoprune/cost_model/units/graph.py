"""ONNX graphs as the kernels that runtimes make of them. Knows what is usually fused: an operator with the pointwise
ones that follow it. Weights are any numbers: kernels take as long for all."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from autoprune.bench.artifact import Artifact
from autoprune.cost_model.units import Unit
from autoprune.errors import DeviceError, describe

#: Operators that take time of their own, into which pointwise ones that follow are fused.
_ANCHORS: Final = {"Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN", "LayerNormalization"}
_POINTWISE: Final = {
    "Add", "Sub", "Mul", "Div", "Relu", "LeakyRelu", "PRelu", "Clip", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish",
    "Gelu", "Erf", "Exp", "Sqrt", "Pow", "Elu", "Selu", "Softplus", "BatchNormalization", "Cast",
}  # fmt: skip
#: Operators that only say how numbers are read.
_FREE: Final = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Shape", "Constant", "Size", "Dropout"}
_SCOPES: Final = "pkg.torch.onnx.name_scopes"
#: Constants of at most so many elements are sizes and axes: their values matter.
_SMALL: Final = 64


@dataclass
class _Graph:
    """A graph whose shapes are known."""

    proto: Any
    shapes: dict[str, tuple[int, ...]] = field(init=False)
    types: dict[str, int] = field(init=False)
    constants: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        graph = onnx.shape_inference.infer_shapes(_light(self.proto), data_prop=True, strict_mode=True).graph
        self.shapes, self.types = {}, {}
        for value in (*graph.value_info, *graph.input, *graph.output):
            tensor = value.type.tensor_type
            self.types[value.name] = tensor.elem_type
            self.shapes[value.name] = tuple(dim.dim_value for dim in tensor.shape.dim)
        self.constants = {each.name: each for each in self.proto.graph.initializer}
        for node in self.proto.graph.node:
            if node.op_type == "Constant":
                self.constants[node.output[0]] = node.attribute[0].t
        for name, each in self.constants.items():
            self.shapes[name], self.types[name] = tuple(each.dims), each.data_type


def units(content: bytes) -> list[Unit]:
    """The kernels of a file, in order.

    Raises:
        DeviceError: its shapes contradict each other.
    """
    proto = onnx.load_from_string(content)
    try:
        graph = _Graph(proto)
    except onnx.shape_inference.InferenceError as error:
        raise DeviceError(
            expected="a graph whose shapes fit", received=describe(error), cure="export the model anew"
        ) from error
    return [_unit(graph, nodes) for nodes in _fused(proto.graph)]


def peak_units() -> tuple[Unit, Unit]:
    """A product of matrices and a sum of long vectors: what the device can do at most."""
    product = _single("MatMul", (1024, 1024))
    return product, _single("Add", (2**23,))


def _fused(graph: Any) -> Iterator[list[Any]]:
    """Runs of nodes that become one kernel: an anchor with the chain of pointwise nodes that alone reads it."""
    readers: dict[str, list[int]] = defaultdict(list)
    for place, node in enumerate(graph.node):
        for name in node.input:
            readers[name].append(place)
    outputs = {value.name for value in graph.output}
    taken: set[int] = set()
    for place, node in enumerate(graph.node):
        if place in taken or node.op_type in _FREE:
            continue
        run, last = [node], node
        while (run[0].op_type in _ANCHORS or run[0].op_type in _POINTWISE) and last.output[0] not in outputs:
            followers = set(readers[last.output[0]])
            follower = graph.node[min(followers)] if len(followers) == 1 else None
            if follower is None or follower.op_type not in _POINTWISE or min(followers) in taken:
                break
            taken.add(min(followers))
            run.append(follower)
            last = follower
        yield run


def _unit(graph: _Graph, nodes: Sequence[Any]) -> Unit:
    inner = {name for node in nodes for name in node.output}
    names = list(dict.fromkeys(name for node in nodes for name in node.input if name and name not in inner))
    fixed = {name: value for name in names if (value := _fixed(graph, name)) is not None}
    described = [
        (
            node.op_type,
            sorted(
                (a.name, str(helper.get_attribute_value(a)))
                for a in node.attribute
                if a.type != onnx.AttributeProto.GRAPH
            ),
            [_role(name, names, inner, fixed) for name in node.input],
        )
        for node in nodes
    ]
    sizes = [size for name in names if name not in fixed for size in graph.shapes.get(name, ())]
    sizes += [int(each) for value in fixed.values() if value.dtype.kind == "i" for each in value.flat]
    out = graph.shapes.get(nodes[-1].output[0], ())
    arrays = [graph.shapes.get(name, ()) for name in names] + [out]
    return Unit(
        operator=nodes[0].op_type,
        family=repr(described),
        sizes=(*sizes, *out),
        layer=_layer(nodes[0]),
        flops=sum(_flops(graph, node) for node in nodes),
        moved=4.0 * sum(math.prod(shape) for shape in arrays),
        artifact=lambda: _artifact(graph, nodes, names, fixed),
    )


def _artifact(graph: _Graph, nodes: Sequence[Any], names: Sequence[str], fixed: Mapping[str, Any]) -> Artifact:
    """The nodes as a file of their own."""
    numbers = 0.5 + np.abs(np.random.default_rng(0).standard_normal(4096))  # positive, as variances must be
    initialisers = [numpy_helper.from_array(value, name) for name, value in fixed.items()]
    inputs, arrays = [], {}
    for name in names:
        if name in fixed:
            continue
        kind = helper.tensor_dtype_to_np_dtype(graph.types.get(name) or TensorProto.FLOAT)
        shape = graph.shapes.get(name, ())
        value = np.resize(numbers.astype(kind), shape) if np.dtype(kind).kind == "f" else np.zeros(shape, kind)
        if name in graph.constants:
            initialisers.append(numpy_helper.from_array(value, name))
        else:
            inputs.append(helper.make_tensor_value_info(name, graph.types.get(name) or TensorProto.FLOAT, shape))
            arrays[name] = value
    output = helper.make_empty_tensor_value_info(nodes[-1].output[0])
    made = helper.make_graph(list(nodes), "unit", inputs, [output], initialisers)
    model = helper.make_model(made, opset_imports=graph.proto.opset_import, ir_version=graph.proto.ir_version)
    return Artifact("onnx", model.SerializeToString(), inputs=arrays)


def _single(op_type: str, shape: tuple[int, ...]) -> Unit:
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "ab"]
    output = helper.make_tensor_value_info("c", TensorProto.FLOAT, shape)
    made = helper.make_graph([helper.make_node(op_type, ["a", "b"], ["c"])], "peak", inputs, [output])
    opset = [helper.make_opsetid("", 20)]
    model = helper.make_model(made, opset_imports=opset, ir_version=10)
    return units(model.SerializeToString())[0]


def _fixed(graph: _Graph, name: str) -> Any:
    """The value of a small constant of whole numbers: a shape, axes; None of anything else."""
    constant = graph.constants.get(name)
    if constant is None or math.prod(constant.dims) > _SMALL:
        return None
    value = numpy_helper.to_array(constant)
    return value if value.dtype.kind in "ib" else None


def _role(name: str, names: Sequence[str], inner: set[str], fixed: Mapping[str, Any]) -> str:
    if not name:
        return ""
    if name in inner:
        return "inner"
    return f"{'fixed' if name in fixed else 'array'} {names.index(name)}"


def _light(proto: Any) -> Any:
    """The graph with big constants as inputs: shapes follow without their numbers."""
    light = onnx.ModelProto()
    light.CopyFrom(proto)
    big = [each for each in light.graph.initializer if math.prod(each.dims) > _SMALL]
    for each in big:
        light.graph.input.append(helper.make_tensor_value_info(each.name, each.data_type, list(each.dims)))
    kept = [each for each in light.graph.initializer if math.prod(each.dims) <= _SMALL]
    del light.graph.initializer[:]
    light.graph.initializer.extend(kept)
    return light


def _flops(graph: _Graph, node: Any) -> float:
    """A multiply-add is two, as in torch's own counter; pointwise operators count nothing."""
    shapes = [graph.shapes.get(name, ()) for name in (*node.input, *node.output[:1])]
    out = math.prod(shapes[-1])
    if node.op_type == "Conv":
        return 2.0 * out * math.prod(shapes[1][1:])
    if node.op_type == "ConvTranspose":
        return 2.0 * math.prod(shapes[0]) * math.prod(shapes[1][1:])
    if node.op_type == "MatMul":
        return 2.0 * out * shapes[0][-1] if shapes[0] else 0.0
    if node.op_type == "Gemm":
        transposed = any(a.name == "transA" and a.i for a in node.attribute)
        return 2.0 * out * shapes[0][0 if transposed else 1] if len(shapes[0]) == 2 else 0.0
    return 0.0


def _layer(node: Any) -> str:
    """The innermost module that a node comes from, as the exporter noted it."""
    for note in node.metadata_props:
        if note.key == _SCOPES:
            scopes = note.value.strip("[]").replace("'", "").split(", ")
            return scopes[-2] if len(scopes) > 1 else ""
    return ""
