"""Whether zeros in a weight run faster than none on this processor: one linear layer of 1024 x 1024, one thread.

    python benchmarks/zeros.py

The least processor time of many runs, in milliseconds. Patterns: single weights at random, two of each four, square
blocks. Runtimes: torch (dense, CSR, BSR), ONNX Runtime, OpenVINO, and OpenVINO told to decompress sparse weights. What
torch computes from its sparse forms is compared with the dense product.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Callable
from typing import Any

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np
import onnx
import onnxruntime
import openvino
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor
from torch.nn import functional

SIZE = 1024
BATCHES = (1, 16, 64)
COLUMNS = ("torch", "torch CSR", "torch BSR", "onnxruntime", "openvino", "openvino sparse")
#: Share of zeros from which OpenVINO is to take weights as sparse.
RATE = 0.4


def patterns() -> dict[str, tuple[Tensor, int]]:
    """By name, which weights stay, and the side of blocks; 0 for none."""
    fours = torch.rand(SIZE * SIZE // 4, 4)
    pairs = torch.zeros_like(fours).scatter_(1, fours.topk(2).indices, 1.0).bool().view(SIZE, SIZE)
    single = torch.rand(SIZE, SIZE)
    found = {"no zeros": (torch.ones(SIZE, SIZE).bool(), 0), "2:4": (pairs, 0)}
    found |= {f"single, {1 - kept:.0%} zeros": (single < kept, 0) for kept in (0.5, 0.1, 0.02)}
    for side, kept in ((16, 0.25), (32, 0.25), (32, 0.1)):
        whole = torch.rand(SIZE // side, SIZE // side) < kept
        mask = whole.repeat_interleave(side, 0).repeat_interleave(side, 1)
        found[f"blocks of {side} x {side}, {1 - kept:.0%} zeros"] = mask, side
    return found


def least(call: Callable[[], Any], runs: int) -> float:
    call()
    taken = []
    for _ in range(runs):
        start = time.process_time()
        call()
        taken.append(time.process_time() - start)
    return 1e3 * min(taken)


def graph(weight: Tensor, batch: int) -> bytes:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, SIZE]) for name in ("x", "y")]
    stored = numpy_helper.from_array(weight.t().contiguous().numpy(), "w")
    product = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "product", ends[:1], ends[1:], [stored]
    )
    made: bytes = helper.make_model(
        product, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()
    return made


def in_onnxruntime(weight: Tensor, batch: int) -> Callable[[], Any]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph(weight, batch), options, providers=["CPUExecutionProvider"])
    given = np.random.default_rng(0).standard_normal((batch, SIZE)).astype(np.float32)
    return lambda: session.run(None, {"x": given})


def in_openvino(weight: Tensor, batch: int, rate: float) -> Callable[[], Any]:
    core = openvino.Core()
    told = {"INFERENCE_NUM_THREADS": 1, "CPU_SPARSE_WEIGHTS_DECOMPRESSION_RATE": rate}
    request = core.compile_model(core.read_model(graph(weight, batch)), "CPU", told).create_infer_request()
    given = np.random.default_rng(0).standard_normal((batch, SIZE)).astype(np.float32)
    return lambda: request.infer({0: given})


def sparse(weight: Tensor, inputs: Tensor, expected: Tensor) -> Callable[[], Tensor]:
    columns = inputs.t().contiguous()
    if not torch.allclose((weight @ columns).t(), expected, atol=1e-3):
        raise RuntimeError("a sparse product is another than the dense one")
    return lambda: weight @ columns


def row(weight: Tensor, side: int, batch: int, runs: int) -> dict[str, float]:
    inputs = torch.randn(batch, SIZE)
    expected = functional.linear(inputs, weight)
    calls: dict[str, Callable[[], Any]] = {"torch": lambda: functional.linear(inputs, weight)}
    if bool((weight == 0).any()):
        calls["torch CSR"] = sparse(weight.to_sparse_csr(), inputs, expected)
        calls["openvino sparse"] = in_openvino(weight, batch, RATE)
    if side:
        calls["torch BSR"] = sparse(weight.to_sparse_bsr((side, side)), inputs, expected)
    calls["onnxruntime"], calls["openvino"] = in_onnxruntime(weight, batch), in_openvino(weight, batch, 1.0)
    return {name: least(call, runs) for name, call in calls.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=60, help="of each product")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    whole = torch.randn(SIZE, SIZE) / SIZE**0.5
    print(f"| batch | weight | {' | '.join(COLUMNS)} |\n|---|---|{'---|' * len(COLUMNS)}")
    for batch in BATCHES:
        for name, (kept, side) in patterns().items():
            found = row(whole * kept, side, batch, options.runs)
            cells = [f"{found[each]:.2f}" if each in found else "-" for each in COLUMNS]
            print(f"| {batch} | {name} | {' | '.join(cells)} |", flush=True)
    print(f"\ntorch {torch.__version__} ({torch.backends.cpu.get_cpu_capability()}), onnx {onnx.__version__}, ", end="")
    print(f"onnxruntime {onnxruntime.__version__}, openvino {openvino.__version__}")


if __name__ == "__main__":
    main()
