"""What ModelInfer answers."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final

from numpy.typing import NDArray

from latens.oip import open_inference_pb2 as oip
from latens_serving.models.statistics import GraphStatistics

_DATATYPES: Final = {"float32": "FP32", "int64": "INT64"}


@dataclass(slots=True)
class Inferred:
    """The outputs that were asked for, in the order of the request."""

    name: str
    """The model's, as in the request."""
    version: str
    id: str
    """The request's."""
    outputs: dict[str, NDArray[Any]]
    """float32 or int64 `[n, *row_shape]` each, C-contiguous and little-endian."""
    statistics: GraphStatistics
    """Of the graph that answered."""

    def small_fields(self) -> oip.ModelInferResponse:
        """The answer without its id and the outputs' elements."""
        return oip.ModelInferResponse(
            model_name=self.name,
            model_version=self.version,
            outputs=[
                oip.ModelInferResponse.InferOutputTensor(
                    name=name, datatype=_DATATYPES[array.dtype.name], shape=array.shape
                )
                for name, array in self.outputs.items()
            ],
        )

    def message(self) -> oip.ModelInferResponse:
        """The whole answer."""
        begun = time.perf_counter_ns()
        response = self.small_fields()
        response.id = self.id
        response.raw_output_contents.extend(array.tobytes() for array in self.outputs.values())
        self.statistics.output_ns += time.perf_counter_ns() - begun
        return response
