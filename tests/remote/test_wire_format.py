"""Artifacts as messages: what comes out is what went in, and of two graphs that share tensors they go once."""

import json

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from autoprune.bench.artifact import Artifact
from autoprune.errors import RefusedError
from autoprune.remote.graph_check import check_graph
from autoprune.remote.wire_format import packed, split, unpacked


def graph(*weights, **model):
    nodes = [helper.make_node("Identity", [f"w{k}"], [f"o{k}"]) for k in range(len(weights))]
    outputs = [helper.make_tensor_value_info(f"o{k}", TensorProto.FLOAT, w.shape) for k, w in enumerate(weights)]
    tensors = [numpy_helper.from_array(w, f"w{k}") for k, w in enumerate(weights)]
    return helper.make_model(helper.make_graph(nodes, "g", [], outputs, tensors), **model)


def noise(seed, size=200_000):
    return np.random.default_rng(seed).standard_normal(size).astype(np.float32)


def test_an_artifact_comes_back_as_it_was():
    artifact = Artifact(
        "onnx", graph(noise(0)).SerializeToString(), {"g": [1, 2]}, {"x": np.eye(3)}, (np.ones(2), np.zeros((0, 3)))
    )
    message, blobs = packed(artifact)
    found = unpacked(json.loads(json.dumps(message)), blobs.__getitem__)
    assert found.content == artifact.content
    assert found.slices == artifact.slices
    assert np.array_equal(found.inputs["x"], np.eye(3))
    assert [array.shape for array in found.expected] == [(2,), (0, 3)]


def test_what_two_graphs_share_has_one_name():
    one, other = (Artifact("onnx", graph(noise(0), noise(k)).SerializeToString()) for k in (1, 2))
    _, first = packed(one)
    _, second = packed(other)
    fresh = sum(len(content) for name, content in second.items() if name not in first)
    assert fresh < 0.6 * len(other.content)


@given(st.binary(max_size=2000), st.sampled_from(["onnx", "module"]))
def test_whatever_the_bytes_the_parts_are_the_whole(content, form):
    assert b"".join(split(form, content)) == content


@given(st.data())
def test_a_graph_that_was_cut_off_or_changed_still_has_parts(data):
    content = bytearray(graph(noise(0, 20_000)).SerializeToString())
    content[data.draw(st.integers(0, 200))] = data.draw(st.integers(0, 255))
    content = bytes(content[: data.draw(st.integers(0, len(content)))])
    assert b"".join(split("onnx", content)) == content


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "file:///etc/passwd", "0" * 63, "G" * 64])
def test_names_that_are_no_hashes_are_refused_before_anything_is_read(name):
    message, _ = packed(Artifact("onnx", b"x"))
    with pytest.raises(RefusedError, match="SHA-256"):
        unpacked({**message, "content": [name]}, lambda _: pytest.fail("read"))


def test_other_bytes_than_named_are_refused():
    message, blobs = packed(Artifact("onnx", b"content"))
    with pytest.raises(RefusedError, match="hash"):
        unpacked(message, lambda name: blobs[name] + b"more")


def test_arrays_are_never_unpickled():
    message, blobs = packed(Artifact("onnx", b"x", inputs={"x": np.array([{}], dtype=object)}))
    with pytest.raises(ValueError, match="pickle"):
        unpacked(message, blobs.__getitem__)


def external(tensor):
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")


def in_initializer(model):
    external(model.graph.initializer[0])


def in_attribute(model):
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(noise(0, 4))))
    external(model.graph.node[-1].attribute[0].t)


def in_subgraph(model):
    inner = graph(noise(0, 4)).graph
    external(inner.initializer[0])
    model.graph.node.append(helper.make_node("If", ["c"], ["o"], then_branch=inner, else_branch=inner))


def in_function(model):
    node = helper.make_node("Constant", [], ["y"], value=numpy_helper.from_array(noise(0, 4)))
    external(node.attribute[0].t)
    model.functions.append(helper.make_function("f", "F", [], ["y"], [node], []))


def in_sparse(model):
    sparse = onnx.SparseTensorProto(values=numpy_helper.from_array(noise(0, 1), "s"), dims=[4])
    external(sparse.values)
    model.graph.sparse_initializer.append(sparse)


def in_training(model):
    info = model.training_info.add()
    info.initialization.CopyFrom(graph(noise(0, 4)).graph)
    external(info.initialization.initializer[0])


@pytest.mark.parametrize("place", [in_initializer, in_attribute, in_subgraph, in_function, in_sparse, in_training])
def test_tensors_elsewhere_are_found_wherever_they_are_named(place):
    model = graph(noise(0, 4))
    check_graph(model.SerializeToString())
    place(model)
    with pytest.raises(RefusedError, match="external data"):
        check_graph(model.SerializeToString())


def test_operators_of_other_libraries_are_found_in_subgraphs_too():
    inner = graph(noise(0, 4)).graph
    inner.node[0].domain = "com.evil"
    model = graph(noise(0, 4))
    model.graph.node.append(helper.make_node("If", ["c"], ["o"], then_branch=inner, else_branch=inner))
    with pytest.raises(RefusedError, match=r"com\.evil\.Identity"):
        check_graph(model.SerializeToString())


def test_functions_of_the_file_itself_are_allowed():
    model = graph(noise(0, 4))
    model.functions.append(helper.make_function("own", "F", ["x"], ["y"], [helper.make_node("Relu", ["x"], ["y"])], []))
    model.graph.node.append(helper.make_node("F", ["w0"], ["z"], domain="own"))
    check_graph(model.SerializeToString())


def test_an_exported_model_passes(small_task):
    from autoprune.exporters.onnx import create
    from autoprune.surgery.example import Example

    exporter = create(small_task.model, Example.of(small_task.example_inputs), {})
    content = exporter.anew(small_task.model, {})
    check_graph(content)
