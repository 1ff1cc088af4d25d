"""Calls a Latens server by NVIDIA's own client; prints what came back as JSON.

Run by `tests/test_triton_clients_are_served.py` in an environment of its own, since tritonclient
wants an older protobuf and registers the same message names.
"""

import asyncio
import json
import queue
import sys

import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException

BATCH = np.linspace(0, 1, 3 * 784, dtype=np.float32).reshape(3, 1, 28, 28)


def an_input(name, array, datatype="FP32", raw=True):
    tensor = triton.InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array)
    if not raw:
        tensor._raw_content = None
        tensor._input.contents.fp32_contents.extend(array.ravel().tolist())
    return tensor


def sync_calls(address, model):
    encoder, decoder = f"{model}-encoder", f"{model}-decoder"
    with triton.InferenceServerClient(address) as client:
        encoded = client.infer(encoder, [an_input("images", BATCH)], request_id="first")
        mean = encoded.as_numpy("mean")
        decoded = client.infer(
            decoder,
            [an_input("latents", mean)],
            outputs=[triton.InferRequestedOutput("images")],
            model_version="1",
        )
        quantized = client.infer(
            encoder, [an_input("images", np.round(BATCH * 255).astype(np.uint8), "UINT8")]
        )
        return {
            "live": client.is_server_live(),
            "ready": client.is_server_ready(),
            "model_ready": client.is_model_ready(encoder),
            "stranger_ready": client.is_model_ready("stranger-encoder"),
            "server": client.get_server_metadata(as_json=True),
            "metadata": client.get_model_metadata(encoder, as_json=True),
            "config": client.get_model_config(decoder, as_json=True)["config"],
            "index": client.get_model_repository_index(as_json=True),
            "id": encoded.get_response().id,
            "mean": mean.tolist(),
            "log_var_shape": list(encoded.as_numpy("log_var").shape),
            "mean_of_uint8": quantized.as_numpy("mean").tolist(),
            "images_shape": list(decoded.as_numpy("images").shape),
            "images_range": [float(f(decoded.as_numpy("images"))) for f in (np.min, np.max)],
            "statistics": client.get_inference_statistics(encoder, as_json=True),
            "errors": errors(client, encoder),
        }


def errors(client, encoder):
    """What the client makes of the server's refusals: status and message."""
    seen = {}
    calls = {
        "unknown model": lambda: client.infer("stranger", [an_input("images", BATCH)]),
        "unknown version": lambda: client.infer(
            encoder, [an_input("images", BATCH)], model_version="77"
        ),
        "wrong shape": lambda: client.infer(encoder, [an_input("images", BATCH[:, :, :20])]),
        "wrong type": lambda: client.infer(
            encoder, [an_input("images", BATCH.astype(np.float64), "FP64")]
        ),
        "load": lambda: client.load_model("mnist-2d"),
        "shared memory": lambda: client.get_system_shared_memory_status(),
    }
    for name, call in calls.items():
        try:
            call()
            seen[name] = "no error"
        except InferenceServerException as error:
            seen[name] = f"{error.status()} {error.message()}"
    return seen


def stream_calls(address, model):
    """Twenty requests down one stream, a bad one among them; the answers in their order."""
    answers = queue.Queue()
    with triton.InferenceServerClient(address) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        for number in range(20):
            name = "images" if number != 7 else "pictures"
            client.async_stream_infer(
                f"{model}-encoder", [an_input(name, BATCH[:1])], request_id=str(number)
            )
        seen = []
        for _ in range(20):
            result, error = answers.get(timeout=30)
            seen.append(result.get_response().id if error is None else f"error: {error.message()}")
        client.stop_stream()
    return seen


async def async_calls(address, model):
    async with triton_aio.InferenceServerClient(address) as client:
        results = await asyncio.gather(
            *(
                client.infer(f"{model}-encoder", [an_input("images", BATCH)], request_id=str(n))
                for n in range(8)
            )
        )
        return [result.as_numpy("mean").tolist() for result in results]


def main():
    address, model = sys.argv[1:]
    seen = sync_calls(address, model)
    seen["stream"] = stream_calls(address, model)
    seen["async_means"] = asyncio.run(async_calls(address, model))
    json.dump(seen, sys.stdout)


if __name__ == "__main__":
    main()
