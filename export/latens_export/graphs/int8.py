"""Large matrix products of a graph in integers of 8 bits.

Weights get one scale per column, activations one fixed range that calibration found, so a row's
answer does not depend on the rows beside it (with ranges measured at run time it does). Small
products, sums and outputs stay float32: they cost little, and most of the error would be theirs.

Activations use 7 of their 8 bits. A processor without VNNI adds two adjacent products in a signed
integer of 16 bits and cuts what exceeds it (the instruction pmaddubsw): 2 * 255 * 127 exceeds it,
2 * 127 * 127 does not. So every processor computes the same sums.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import helper, numpy_helper

if TYPE_CHECKING:
    from latens_export.checks.inputs import Floats

MIN_WEIGHTS = 2**16
"""Products of fewer weights stay in float32."""

MAX_CODE = 127
MAX_WEIGHT = 127
PRODUCT = "MatMulIntegerToFloat"

_RUNTIME_DOMAIN = "com.microsoft"  # the product is ONNX Runtime's own operator
_PIXEL_RANGE = (0.0, 1.0)


@dataclasses.dataclass(frozen=True, slots=True)
class _Range:
    """An affine code of 7 bits: value = scale * (code - zero)."""

    scale: np.float32
    zero: np.uint8

    @classmethod
    def of(cls, low: float, high: float) -> _Range:
        """The code of [low, high], in which 0 is exact."""
        low, high = min(low, 0.0), max(high, 0.0)
        scale = np.float32(max(high - low, 1e-12) / MAX_CODE)
        return cls(scale, np.uint8(np.clip(np.rint(-low / scale), 0, MAX_CODE)))


def with_int8_products(graph: bytes, calibration: Floats) -> bytes:
    """Rewrites the large products of a float32 graph.

    Args:
        graph: a graph of `latens_export.graphs.tracing`.
        calibration: inputs [n, ...] that span what the graph will see. Images span [0, 1].
    """
    proto = onnx.load_from_string(graph)
    del proto.graph.value_info[:]  # holds the weights' old shapes
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    products = [node for node in proto.graph.node if _is_large_product(node, weights)]
    ranges = _input_ranges(proto, products, calibration)
    nodes: list[Any] = []
    for node in proto.graph.node:
        if node in products:
            nodes += _int8_product(proto, node, weights, ranges[node.input[0]])
        else:
            nodes.append(node)
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    _drop_unused_weights(proto)
    if products:
        proto.opset_import.append(helper.make_opsetid(_RUNTIME_DOMAIN, 1))
    return proto.SerializeToString(deterministic=True)


def count_products(graph: bytes) -> int:
    """How many products of a graph are in integers."""
    return sum(node.op_type == PRODUCT for node in onnx.load_from_string(graph).graph.node)


def _is_large_product(node: Any, weights: dict[str, NDArray[Any]]) -> bool:
    attributes = {
        attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute
    }
    return (
        node.op_type == "Gemm"
        and len(node.input) == 3
        and node.input[1] in weights
        and weights[node.input[1]].size >= MIN_WEIGHTS
        and attributes.get("transB") == 1
        and not attributes.get("transA")
        and attributes.get("alpha", 1.0) == attributes.get("beta", 1.0) == 1.0
    )


def _input_ranges(
    proto: onnx.ModelProto, products: list[Any], calibration: Floats
) -> dict[str, _Range]:
    """The range of each product's input, over the calibration inputs."""
    traced = onnx.ModelProto()
    traced.CopyFrom(proto)
    known = {value.name for value in traced.graph.output}
    names = [node.input[0] for node in products]
    for name in {*names} - known:
        traced.graph.output.append(
            helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        )
    session = ort.InferenceSession(traced.SerializeToString(), providers=["CPUExecutionProvider"])
    source = proto.graph.input[0].name
    ranges = {}
    for name in names:
        if source == "images" and name in _reshaped(proto, source):
            ranges[name] = _Range.of(*_PIXEL_RANGE)
            continue
        values = session.run([name], {source: calibration})[0]
        ranges[name] = _Range.of(float(values.min()), float(values.max()))
    return ranges


def _reshaped(proto: onnx.ModelProto, source: str) -> set[str]:
    """The input, and what is the input in another shape."""
    names = {source}
    for node in proto.graph.node:
        if node.op_type in {"Reshape", "Flatten"} and node.input[0] in names:
            names.add(node.output[0])
    return names


def _int8_product(
    proto: onnx.ModelProto, node: Any, weights: dict[str, NDArray[Any]], code: _Range
) -> list[Any]:
    name = node.output[0]
    values = weights[node.input[1]].T  # [inputs, outputs]
    scales = np.maximum(np.abs(values).max(0), 1e-12).astype(np.float32) / np.float32(MAX_WEIGHT)
    constants: dict[str, NDArray[Any]] = {
        "weight": np.clip(np.rint(values / scales), -MAX_WEIGHT, MAX_WEIGHT).astype(np.int8),
        "scale": np.asarray(code.scale),
        "zero": np.asarray(code.zero),
        "weight_scale": scales,
        "weight_zero": np.zeros(len(scales), np.int8),
        "largest_code": np.array(MAX_CODE, np.uint8),
    }
    for part, array in constants.items():
        proto.graph.initializer.append(
            numpy_helper.from_array(np.asarray(array, order="C"), f"{name}/{part}")
        )
    unbounded, coded = f"{name}/unbounded", f"{name}/coded"
    scale, zero = f"{name}/scale", f"{name}/zero"
    factors = [coded, f"{name}/weight", scale, f"{name}/weight_scale", zero, f"{name}/weight_zero"]
    return [
        helper.make_node("QuantizeLinear", [node.input[0], scale, zero], [unbounded]),
        helper.make_node("Clip", [unbounded, "", f"{name}/largest_code"], [coded]),
        helper.make_node(PRODUCT, [*factors, node.input[2]], [name], domain=_RUNTIME_DOMAIN),
    ]


def _drop_unused_weights(proto: onnx.ModelProto) -> None:
    used = {name for node in proto.graph.node for name in node.input}
    for tensor in list(proto.graph.initializer):
        if tensor.name not in used:
            proto.graph.initializer.remove(tensor)
