"""From a ModelInferRequest to the rows that a graph may be given; every fault named with its field.

The protocol's rules are kept strictly: an input of another name, type, size or rank, a second copy
of an input, an output that does not exist, contents given twice or not at all are errors, never
guesses.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latens.oip import open_inference_pb2 as oip
from latens.v1 import latens_pb2 as pb
from latens_serving.errors import InvalidInputError, UnsupportedError
from latens_serving.models.model import LoadedModel
from latens_serving.service import validation
from latens_serving.transports.oip.graphs import Graph, TensorFacts, input_of, outputs_of

_CODES = {"FP32": pb.DATA_TYPE_FLOAT32, "UINT8": pb.DATA_TYPE_UINT8}
_SIZES = {"FP32": 4, "UINT8": 1}
_CONTENTS = {"FP32": "fp32_contents", "UINT8": "uint_contents"}
_ARRAY_TYPES: dict[str, np.dtype[Any]] = {"FP32": np.dtype("<f4"), "UINT8": np.dtype("u1")}
_SHARED_MEMORY = "shared_memory_region"


@dataclass(frozen=True, slots=True)
class InferCall:
    """A request that was understood."""

    rows: NDArray[Any]
    """`[n, *row_shape]`, as the model takes it: float32, or images as UINT8."""
    outputs: tuple[str, ...]
    """Which outputs are wanted, in the order of the request."""


@dataclass(frozen=True, slots=True)
class _RawTensor:
    """What `latens.tensors.to_array` reads of a message, over bytes that are not copied."""

    dtype: int
    shape: tuple[int, ...]
    data: bytes


def read(request: oip.ModelInferRequest, model: LoadedModel, graph: Graph) -> InferCall:
    """Checks a request and gives its rows.

    Raises:
        InvalidInputError: it breaks a rule of the protocol or of the model.
        TooLargeError: more rows than a call may carry.
        UnsupportedError: it wants shared memory or a classification.
    """
    outputs = _wanted_outputs(request, outputs_of(model.spec, graph))
    tensor = _only_input(request, input_of(model.spec, graph))
    _check_datatype(tensor.datatype, graph)
    _check_shape(tensor.shape)
    raw = _RawTensor(_CODES[tensor.datatype], tuple(tensor.shape), _content(request, tensor))
    check = validation.pixels_of if graph is Graph.ENCODER else validation.latents_of
    return InferCall(check(raw, "inputs[0]", model), outputs)


def _wanted_outputs(
    request: oip.ModelInferRequest, known: tuple[TensorFacts, ...]
) -> tuple[str, ...]:
    names = [facts.name for facts in known]
    wanted = [output.name for output in request.outputs]
    for place, output in enumerate(request.outputs):
        field = f"outputs[{place}].name"
        if output.name not in names:
            raise InvalidInputError.at(
                field, f"expected {_either(names)}, got {output.name[:40]!r}"
            )
        if wanted.index(output.name) < place:
            raise InvalidInputError.at(field, f"{output.name!r} is asked for twice")
        _refuse_parameters(output.parameters, f"outputs[{place}].parameters", "classification")
    return tuple(wanted or names)


def _only_input(
    request: oip.ModelInferRequest, known: TensorFacts
) -> oip.ModelInferRequest.InferInputTensor:
    if len(request.inputs) != 1:
        raise InvalidInputError.at(
            "inputs", f"expected one input, {known.name!r}, got {len(request.inputs)}"
        )
    tensor = request.inputs[0]
    if tensor.name != known.name:
        raise InvalidInputError.at(
            "inputs[0].name", f"expected {known.name!r}, got {tensor.name[:40]!r}"
        )
    _refuse_parameters(tensor.parameters, "inputs[0].parameters")
    return tensor


def _refuse_parameters(parameters: Iterable[str], field: str, *more: str) -> None:
    for name in (_SHARED_MEMORY, *more):
        if name in parameters:
            raise UnsupportedError(f"{field}: {name} is not supported; send the tensor in the call")


def _check_datatype(datatype: str, graph: Graph) -> None:
    allowed = ["FP32", "UINT8"] if graph is Graph.ENCODER else ["FP32"]
    if datatype not in allowed:
        raise InvalidInputError.at(
            "inputs[0].datatype", f"expected {_either(allowed)}, got {datatype[:20]!r}"
        )


def _check_shape(shape: Iterable[int]) -> None:
    if any(length < 0 for length in shape):
        raise InvalidInputError.at(
            "inputs[0].shape", f"expected no negative dimension, got {list(shape)[:8]}"
        )


def _content(
    request: oip.ModelInferRequest, tensor: oip.ModelInferRequest.InferInputTensor
) -> bytes:
    """The input's elements as little-endian bytes, exactly as many as the shape says."""
    raw = request.raw_input_contents
    if raw and tensor.HasField("contents"):
        raise InvalidInputError.at(
            "raw_input_contents", "expected contents or raw contents, got both"
        )
    if len(raw) > 1:
        raise InvalidInputError.at(
            "raw_input_contents", f"expected one element an input, got {len(raw)} for 1 input"
        )
    field = "raw_input_contents[0]" if raw else "inputs[0].contents"
    content = raw[0] if raw else _from_typed(tensor)
    size = _SIZES[tensor.datatype]
    expected = math.prod(tensor.shape) * size
    if len(content) != expected:
        shape = list(tensor.shape)[:8]
        unit = "bytes" if raw else "elements"
        got = len(content) if raw else len(content) // size
        wanted = expected if raw else expected // size
        raise InvalidInputError.at(
            field, f"expected {wanted} {unit} for {tensor.datatype} of shape {shape}, got {got}"
        )
    return content


def _from_typed(tensor: oip.ModelInferRequest.InferInputTensor) -> bytes:
    wanted = _CONTENTS[tensor.datatype]
    for descriptor, _ in tensor.contents.ListFields():
        if descriptor.name != wanted:
            raise InvalidInputError.at(
                f"inputs[0].contents.{descriptor.name}",
                f"expected {wanted} for {tensor.datatype}",
            )
    elements: Any = getattr(tensor.contents, wanted)
    try:
        return np.array(list(elements), _ARRAY_TYPES[tensor.datatype]).tobytes()
    except (OverflowError, ValueError) as error:
        raise InvalidInputError.at(
            f"inputs[0].contents.{wanted}", f"expected values of {tensor.datatype}: {error}"
        ) from error


def _either(names: list[str]) -> str:
    return " or ".join(repr(name) for name in names)
