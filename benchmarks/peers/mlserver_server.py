"""The encoder served by MLServer, in its own process (no parallel workers: one core)."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
from mlserver import MLModel
from mlserver.cli.main import root
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Encoder(MLModel):
    """The graph as an MLServer runtime."""

    async def load(self) -> bool:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        graph = os.environ["BENCHMARK_GRAPH"]
        self._session = onnxruntime.InferenceSession(
            graph, options, providers=["CPUExecutionProvider"]
        )
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        images = NumpyCodec.decode_input(payload.inputs[0]).astype(np.float32, copy=False)
        arrays = self._session.run(None, {"images": images})
        outputs = [
            NumpyCodec.encode_output(name=name, payload=array)
            for name, array in zip(("mean", "log_var"), arrays, strict=True)
        ]
        return InferenceResponse(model_name=self.name, outputs=outputs)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "host": "127.0.0.1",
            "grpc_port": int(os.environ["BENCHMARK_GRPC_PORT"]),
            "http_port": int(os.environ["BENCHMARK_HTTP_PORT"]),
            "metrics_endpoint": None,
            "parallel_workers": 0,
            "debug": False,
            "grpc_max_message_length": 64 << 20,
        }
        Path(folder, "settings.json").write_text(json.dumps(settings))
        model = {"name": "encoder", "implementation": "mlserver_server.Encoder"}
        Path(folder, "model-settings.json").write_text(json.dumps(model))
        root(["start", folder])
