"""The encoder served by Triton's Python backend, from the package `nvidia-pytriton`."""

from __future__ import annotations

import os

import numpy as np
import onnxruntime
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig


def main() -> None:
    """Serves until it is stopped."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        os.environ["BENCHMARK_GRAPH"], options, providers=["CPUExecutionProvider"]
    )

    @batch
    def encode(images: np.ndarray) -> list[np.ndarray]:
        return session.run(None, {"images": images})

    config = TritonConfig(
        grpc_port=int(os.environ["BENCHMARK_GRPC_PORT"]),
        http_port=int(os.environ["BENCHMARK_HTTP_PORT"]),
        allow_metrics=False,
        log_verbose=0,
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name="encoder",
            infer_func=encode,
            inputs=[Tensor(name="images", dtype=np.float32, shape=(1, 28, 28))],
            outputs=[
                Tensor(name="mean", dtype=np.float32, shape=(20,)),
                Tensor(name="log_var", dtype=np.float32, shape=(20,)),
            ],
            config=ModelConfig(
                max_batch_size=1024, batcher=DynamicBatcher(max_queue_delay_microseconds=0)
            ),
        )
        triton.serve()


if __name__ == "__main__":
    main()
