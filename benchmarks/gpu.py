"""Compares the engine on a GPU with bare ONNX Runtime and with torch.compile.

It takes less than five minutes and needs an NVIDIA GPU, `latens-serving[gpu]`, latens-export and a
torch with CUDA. Figures are elapsed times, medians of rounds in turns.
Goals: the engine at 90% of ONNX Runtime's rate with everything on the device (batch 8192, MLP),
the conv decoder at half of what torch.compile reaches, the first call no slower than the tenth.

    python benchmarks/gpu.py [--json]
    python benchmarks/gpu.py --device cpu     only tests the script; the figures mean nothing
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import torch

import graphs
from latens_serving.engine.batch_sizes import BatchSizes
from latens_serving.engine.cuda import availability as cuda
from latens_serving.engine.cuda.engine import DeviceEngine
from latens_serving.engine.cuda.memory import HostMemory
from latens_serving.engine.factory import open_engine
from latens_serving.engine.onnx import Device, Engine, EngineSettings, open_session
from timing import Call, markdown, take_turns

BATCHES = (1, 64, 1024, 8192)
ROUNDS = 5
SECONDS = 0.1
CALLERS, CALLS = 4, 100
ARCHITECTURES = ("vae-mlp", "vae-conv")
SETTINGS = EngineSettings(device=Device.CUDA)
VARIANTS = {
    "engine": SETTINGS,
    "engine, TF32": replace(SETTINGS, tf32=True),
    "engine, CUDA graphs": replace(SETTINGS, cuda_graphs=True),
}

Opener = Callable[[bytes, EngineSettings], Engine]
Rates = dict[str, dict[int, float]]


def main() -> int:
    """Measures and prints; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="default: cuda")
    options = parser.parse_args()
    on_gpu = options.device == "cuda"
    if on_gpu and (reason := cuda.why_unavailable(0)):
        print(f"benchmarks/gpu.py needs a GPU: {reason}", file=sys.stderr)
        return 1
    results = measure(on_gpu)
    print(json.dumps(results, indent=2) if options.json else _text(results))
    return 0


def measure(on_gpu: bool) -> dict[str, Any]:
    """All figures."""
    opener = open_engine if on_gpu else _on_host
    batches = BATCHES if on_gpu else BATCHES[:2]
    results: dict[str, Any] = {"device": _device(on_gpu), "images_per_second": {}}
    for architecture in ARCHITECTURES:
        for part, forms in (
            ("encoder", graphs.encoders(architecture)),
            ("decoder", graphs.decoders(architecture)),
        ):
            name = f"{architecture} {part}"
            print(f"{name} ...", file=sys.stderr)
            results["images_per_second"][name] = _rates(
                architecture, part, forms, opener, batches, on_gpu
            )
    encoder = graphs.encoders("vae-mlp")["float32"]
    results["by_grpc_images_per_second"] = _by_grpc(max(batches), on_gpu)
    results["first_calls_ms"] = _first_calls(opener(encoder, SETTINGS), max(batches))
    return results


def _rates(
    architecture: str,
    part: str,
    forms: dict[str, bytes],
    opener: Opener,
    batches: tuple[int, ...],
    on_gpu: bool,
) -> Rates:
    bytes_form = "float32, bytes in" if part == "encoder" else "float32, bytes out"
    chosen = {"float32": "float32", "bytes": bytes_form, "float16": "float16"}
    with contextlib.ExitStack() as stack:
        engines = {
            f"{variant}, {form}": stack.enter_context(_closing(opener(forms[graph], settings)))
            for variant, settings in VARIANTS.items()
            for form, graph in chosen.items()
        }
        rates: Rates = {
            name: {} for name in (*engines, "ONNX Runtime on the device", "torch.compile")
        }
        for batch in batches:
            calls = {name: _engine_call(engine, batch) for name, engine in engines.items()}
            calls["ONNX Runtime on the device"] = _bound_call(forms["float32"], batch, on_gpu)
            calls["torch.compile"] = _torch_call(architecture, part, batch, on_gpu)
            for name, cost in take_turns(calls, ROUNDS, SECONDS / 2).items():
                rates[name][batch] = batch / cost.wall
    return rates


def _engine_call(engine: Engine, batch: int) -> Call:
    inputs = _inputs(engine.input.name, batch, engine.input.dtype)
    return lambda: engine.run(inputs)


def _bound_call(graph: bytes, batch: int, on_gpu: bool) -> Call:
    """Bare ONNX Runtime: inputs and outputs stay on the device."""
    import onnxruntime as ort

    kind = "cuda" if on_gpu else "cpu"
    session, _ = open_session(graph, replace(SETTINGS, device=Device(kind)))
    source = session.get_inputs()[0].name
    binding = session.io_binding()
    inputs = _inputs(source, batch, np.dtype(np.float32))
    binding.bind_ortvalue_input(source, ort.OrtValue.ortvalue_from_numpy(inputs, kind, 0))
    for output in session.get_outputs():
        shape = [batch, *output.shape[1:]]
        target = ort.OrtValue.ortvalue_from_shape_and_type(shape, np.float32, kind, 0)
        binding.bind_ortvalue_output(output.name, target)
    return lambda: session.run_with_iobinding(binding)


def _torch_call(architecture: str, part: str, batch: int, on_gpu: bool) -> Call:
    """torch.compile: inputs and outputs stay on the device."""
    kind = "cuda" if on_gpu else "cpu"
    network = copy.deepcopy(getattr(graphs.network(architecture), part)).to(kind)
    run = torch.compile(network) if on_gpu else network
    source = "images" if part == "encoder" else "latents"
    inputs = torch.from_numpy(_inputs(source, batch, np.dtype(np.float32))).to(kind)

    def call() -> None:
        with torch.inference_mode():
            run(inputs)
        if on_gpu:
            torch.cuda.synchronize()

    return call


def _first_calls(engine: Engine, batch: int) -> dict[str, float]:
    """The first call after opening, and the tenth, each with a batch that was not run before."""
    inputs = _inputs(engine.input.name, batch, engine.input.dtype)
    taken = []
    for _ in range(10):
        begun = time.perf_counter()
        engine.run(inputs)
        taken.append((time.perf_counter() - begun) * 1e3)
    engine.close()
    return {"first": taken[0], "tenth": taken[9], "median": statistics.median(taken)}


def _by_grpc(batch: int, on_gpu: bool) -> float:
    """Concurrent Encode calls of byte images from the Latens client to a server."""
    import latens
    import serve

    device = "--device=cuda" if on_gpu else "--device=cpu"
    images = _inputs("images", batch, np.dtype(np.uint8))
    with serve.serving("http2", device) as target, latens.Client(target.address) as client:
        client.encode(images)
        with ThreadPoolExecutor(CALLERS) as pool:
            begun = time.perf_counter()
            list(pool.map(lambda _: client.encode(images), range(CALLS)))
            return CALLS * batch / (time.perf_counter() - begun)


def _inputs(name: str, batch: int, dtype: np.dtype[Any]) -> np.ndarray:
    if name == "latents":
        return graphs.prior_draws(batch)
    if dtype == np.uint8:
        images = graphs.byte_images()
        return np.ascontiguousarray(images[torch.arange(batch) % len(images)].numpy())
    return graphs.pixels(batch)


@contextlib.contextmanager
def _closing(engine: Engine) -> Iterator[Engine]:
    try:
        yield engine
    finally:
        engine.close()


def _on_host(graph: bytes, _settings: EngineSettings) -> Engine:
    """The engine of the GPU with the memory of the host as the device's."""
    session, _ = open_session(graph, EngineSettings(device=Device.CPU))
    return DeviceEngine(session, HostMemory(), BatchSizes.doubling(64), stream=0)


def _device(on_gpu: bool) -> str:
    if not on_gpu:
        return "the CPU: only a test of the script"
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()
    return "an unnamed GPU"


def _text(results: dict[str, Any]) -> str:
    text = io.StringIO()
    print(results["device"], file=text)
    for name, rates in results["images_per_second"].items():
        heads = [f"batch {batch}" for batch in next(iter(rates.values()))]
        rows = {row: [f"{rate:,.0f}" for rate in cells.values()] for row, cells in rates.items()}
        print("\n" + markdown(f"{name}: images/s", heads, rows), file=text)
    rate = results["by_grpc_images_per_second"]
    print(
        f"\nvae-mlp encoder over gRPC, byte images, {CALLERS} callers: {rate:,.0f} images/s",
        file=text,
    )
    calls = ", ".join(f"{name} {value:.2f}" for name, value in results["first_calls_ms"].items())
    print(f"\nvae-mlp encoder, largest batch, ms per call after opening: {calls}", file=text)
    return text.getvalue()


if __name__ == "__main__":
    sys.exit(main())
