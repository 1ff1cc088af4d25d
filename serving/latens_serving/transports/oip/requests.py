"""From a ModelInferRequest to the tensor that a graph is given; every fault named with its field.

The protocol's rules are kept strictly: an input of another name, type, size or rank, a second copy
of an input, an output that does not exist, contents given twice or not at all are errors, never
guesses.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from latens.oip import open_inference_pb2 as oip
from latens.tensors import TensorFields
from latens.v1 import latens_pb2 as pb
from latens_serving.bundle.spec import ModelSpec
from latens_serving.errors import InvalidInputError, UnsupportedError
from latens_serving.transports.oip.graphs import (
    Graph,
    TensorFacts,
    input_datatypes,
    input_of,
    outputs_of,
)

_CODES = {
    "FP32": pb.DATA_TYPE_FLOAT32,
    "UINT8": pb.DATA_TYPE_UINT8,
    "INT64": pb.DATA_TYPE_INT64,
}
_CONTENTS = {"FP32": "fp32_contents", "UINT8": "uint_contents", "INT64": "int64_contents"}
_ARRAY_TYPES: dict[str, np.dtype[Any]] = {
    "FP32": np.dtype("<f4"),
    "UINT8": np.dtype("u1"),
    "INT64": np.dtype("<i8"),
}
_SIZES = {name: dtype.itemsize for name, dtype in _ARRAY_TYPES.items()}
_SHARED_MEMORY = "shared_memory_region"


@dataclass(frozen=True, slots=True)
class Understood:
    """What a request without its elements means to one model."""

    spec: ModelSpec
    graph: Graph
    outputs: tuple[str, ...]
    """Which outputs are wanted, in the order of the request."""
    datatype: str
    shape: tuple[int, ...]


class ReadRequest:
    """A request without its raw contents; it remembers what it means to the model asked last."""

    __slots__ = ("_understood", "message")

    def __init__(self, message: oip.ModelInferRequest) -> None:
        """Wraps `message`, which must not be changed from now on."""
        self.message = message
        self._understood: Understood | None = None

    def understand(self, spec: ModelSpec, graph: Graph) -> Understood:
        """Checks all but the elements.

        Raises:
            InvalidInputError: it breaks a rule of the protocol or of the model.
            UnsupportedError: it wants shared memory or a classification.
        """
        known = self._understood
        if known is None or known.spec is not spec or known.graph is not graph:
            known = self._understood = _understand(self.message, spec, graph)
        return known


@dataclass(frozen=True, slots=True)
class _RawTensor:
    """What `latens.tensors.to_array` reads of a message, over bytes that are not copied."""

    dtype: int
    shape: tuple[int, ...]
    data: bytes | memoryview


def tensor_of(
    request: oip.ModelInferRequest, understood: Understood, raw: bytes | memoryview | None
) -> TensorFields:
    """The input of a request as a tensor, with exactly as many elements as its shape says.

    Args:
        request: the request.
        understood: what it means.
        raw: its raw contents where they were taken out of it.

    Raises:
        InvalidInputError: contents are missing, given twice, or of another size or type.
    """
    content = _content(request, understood, raw)
    return _RawTensor(_CODES[understood.datatype], understood.shape, content)


def _understand(request: oip.ModelInferRequest, spec: ModelSpec, graph: Graph) -> Understood:
    outputs = _wanted_outputs(request, outputs_of(spec, graph))
    tensor = _only_input(request, input_of(spec, graph))
    _check_datatype(tensor.datatype, input_datatypes(spec, graph))
    _check_shape(tensor.shape)
    return Understood(spec, graph, outputs, tensor.datatype, tuple(tensor.shape))


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


def _check_datatype(datatype: str, allowed: Sequence[str]) -> None:
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
    request: oip.ModelInferRequest, understood: Understood, taken: bytes | memoryview | None
) -> bytes | memoryview:
    """The input's elements as little-endian bytes, exactly as many as the shape says."""
    raw = request.raw_input_contents if taken is None else (taken,)
    tensor = request.inputs[0]
    if raw and tensor.HasField("contents"):
        raise InvalidInputError.at(
            "raw_input_contents", "expected contents or raw contents, got both"
        )
    if len(raw) > 1:
        raise InvalidInputError.at(
            "raw_input_contents", f"expected one element an input, got {len(raw)} for 1 input"
        )
    content = raw[0] if raw else _from_typed(tensor)
    expected = math.prod(understood.shape) * _SIZES[understood.datatype]
    if len(content) != expected:
        raise _wrong_size(understood, len(content), expected, is_raw=bool(raw))
    return content


def _wrong_size(
    understood: Understood, got: int, expected: int, *, is_raw: bool
) -> InvalidInputError:
    size = 1 if is_raw else _SIZES[understood.datatype]
    field, unit = (
        ("raw_input_contents[0]", "bytes") if is_raw else ("inputs[0].contents", "elements")
    )
    shape = list(understood.shape)[:8]
    wanted = f"expected {expected // size} {unit} for {understood.datatype} of shape {shape}"
    return InvalidInputError.at(field, f"{wanted}, got {got // size}")


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


def _either(names: Sequence[str]) -> str:
    return " or ".join(repr(name) for name in names)
