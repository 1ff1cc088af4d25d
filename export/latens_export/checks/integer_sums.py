"""Checks that a graph's integer products are the same on every processor."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from latens_export.errors import ParityError
from latens_export.graphs.int8 import PRODUCT

INT16_MAX = 2**15 - 1
_UINT8_MAX = 2**8 - 1


def require_exact_sums(graph: bytes) -> None:
    """Refuses a graph in which a sum of two products could exceed 16 bits.

    A processor without VNNI cuts such a sum at 32767 (the instruction pmaddubsw), so the graph
    would answer differently there than on the processor at hand.

    Raises:
        ParityError: a sum could; the text names the product.
    """
    proto = onnx.load_from_string(graph).graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.initializer}
    makers = {name: node for node in proto.node for name in node.output}
    for node in proto.node:
        if node.op_type == PRODUCT:
            sum_ = _largest_sum(constants[node.input[1]], makers[node.input[0]], constants)
            if sum_ > INT16_MAX:
                raise ParityError(
                    f"int8: sums of two products in {node.output[0]} can reach {sum_}; "
                    f"expected at most {INT16_MAX}, where processors without VNNI cut them"
                )


def _largest_sum(weights: NDArray[Any], maker: Any, constants: dict[str, NDArray[Any]]) -> int:
    largest_code = _UINT8_MAX
    if maker.op_type == "Clip":
        largest_code = int(constants[maker.input[2]])
    return 2 * largest_code * int(np.abs(weights.astype(np.int32)).max())
