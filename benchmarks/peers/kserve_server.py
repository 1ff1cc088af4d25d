"""The encoder served by the KServe Python SDK."""

from __future__ import annotations

import os
from typing import Any

import kserve
import numpy as np
import onnxruntime


class Encoder(kserve.Model):
    """The graph as a KServe model; it runs in the event loop, as in the servers of the SDK."""

    def __init__(self, graph: str) -> None:
        super().__init__("encoder")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            graph, options, providers=["CPUExecutionProvider"]
        )
        self.ready = True

    async def predict(
        self, payload: kserve.InferRequest, *_: Any, **__: Any
    ) -> kserve.InferResponse:
        images = payload.inputs[0].as_numpy()
        outputs = []
        for name, array in zip(("mean", "log_var"), self._run(images), strict=True):
            output = kserve.InferOutput(name=name, shape=list(array.shape), datatype="FP32")
            output.set_data_from_numpy(array, binary_data=True)
            outputs.append(output)
        return kserve.InferResponse(
            response_id=payload.id, model_name=self.name, infer_outputs=outputs
        )

    def _run(self, images: np.ndarray) -> list[np.ndarray]:
        return self._session.run(None, {"images": images})


if __name__ == "__main__":
    server = kserve.ModelServer(
        http_port=int(os.environ["BENCHMARK_HTTP_PORT"]),
        grpc_port=int(os.environ["BENCHMARK_GRPC_PORT"]),
        workers=1,
    )
    server.start([Encoder(os.environ["BENCHMARK_GRAPH"])])
