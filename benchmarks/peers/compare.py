"""Compares Latens with other servers: same graph, load and core, each in its own environment.

    python benchmarks/peers/compare.py kserve             one of them, and both front ends
    python benchmarks/peers/compare.py                    all of them
    python benchmarks/peers/compare.py --triton DIR       also a tritonserver with its C++ backend

DIR has `bin/tritonserver`, `lib` and `backends/onnxruntime`, as /opt/tritonserver of its image has.
The environments are made once, under build/benchmarks/peers/. Each server runs the encoder of the
MLP in ONNX Runtime with one thread. Calls use the Open Inference Protocol with raw tensors.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import models
import numpy as np

import measuring
import processes
from measuring import Target
from serve import serving, take_turns

HERE = Path(__file__).parent
ENVIRONMENTS = Path(__file__).parents[2] / "build" / "benchmarks" / "peers"
PEERS = {
    "kserve": "KServe SDK",
    "mlserver": "MLServer",
    "triton": "Triton, Python backend (pytriton)",
}
INFER = "/inference.GRPCInferenceService/ModelInfer"
_UP_SECONDS = 120
_TRITON = "Triton, ONNX Runtime backend"
_TRITON_CONFIG = """
backend: "onnxruntime"
max_batch_size: 1024
input [ { name: "images" data_type: TYPE_FP32 dims: [ %s ] } ]
output [
  { name: "mean" data_type: TYPE_FP32 dims: [ %d ] },
  { name: "log_var" data_type: TYPE_FP32 dims: [ %d ] }
]
dynamic_batching { max_queue_delay_microseconds: 0 }
instance_group [ { count: 1 kind: KIND_CPU } ]
parameters { key: "intra_op_thread_count" value: { string_value: "1" } }
parameters { key: "inter_op_thread_count" value: { string_value: "1" } }
"""


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("peers", nargs="*", metavar="PEER", help=f"{', '.join(PEERS)}; all if none")
    parser.add_argument(
        "--triton", type=Path, metavar="DIR", help="a tritonserver with its ONNX Runtime backend"
    )
    parser.add_argument("--repeats", type=int, default=3, help="runs per cell (3)")
    parser.add_argument("--seconds", type=float, default=0.5, help="duration of a run (0.5)")
    parser.add_argument("--json", action="store_true", help="print JSON on stdout")
    options = parser.parse_args()
    if unknown := set(options.peers) - set(PEERS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    _, load_core = processes.cores()
    with ExitStack() as servers:
        targets = [servers.enter_context(serving(name)) for name in ("http2", "grpcio")]
        others = [(PEERS[name], peer(name)) for name in options.peers or PEERS]
        if options.triton:
            others.append((_TRITON, triton(options.triton)))
        for title, other in others:
            try:
                targets.append(servers.enter_context(other))
            except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
                print(f"{title} does not run: {error}", file=sys.stderr)
        limits, cells = take_turns(targets, options.repeats, options.seconds, load_core)
    if options.json:
        report = {name: measuring.as_json(group) for name, group in cells.items()}
        print(json.dumps({"in_process_us_per_image": limits, "servers": report}))
    else:
        print(measuring.table(cells, limits))


@contextmanager
def peer(name: str) -> Iterator[Target]:
    """Runs a peer on the server's core, and waits until it answers."""
    python = _environment(name)
    server_core, _ = processes.cores()
    grpc_port, http_port = processes.free_port(), processes.free_port()
    with tempfile.TemporaryDirectory() as directory:
        log, graph = Path(directory, "log"), Path(directory, "encoder.onnx")
        graph.write_bytes(models.encoder())
        command = [str(python), str(HERE / f"{name}_server.py")]
        environment = {
            "BENCHMARK_GRAPH": str(graph),
            "BENCHMARK_GRPC_PORT": str(grpc_port),
            "BENCHMARK_HTTP_PORT": str(http_port),
            "PYTHONPATH": str(HERE),
            "PATH": f"{python.parent}:{os.environ['PATH']}",
            # Triton loads the interpreter as a library, which must be that of the environment.
            "LD_LIBRARY_PATH": sysconfig.get_config_var("LIBDIR"),
        }
        with processes.running(command, log, core=server_core, environment=environment) as process:
            yield _target(PEERS[name], f"127.0.0.1:{grpc_port}", process, log)


@contextmanager
def triton(directory: Path) -> Iterator[Target]:
    """Runs a tritonserver that is installed in a folder, likewise."""
    server_core, _ = processes.cores()
    grpc_port, http_port = processes.free_port(), processes.free_port()
    with tempfile.TemporaryDirectory() as folder:
        log, models_folder = Path(folder, "log"), Path(folder, "models")
        version = models_folder / "encoder" / "1"
        version.mkdir(parents=True)
        (version / "model.onnx").write_bytes(models.encoder())
        sizes = (", ".join(map(str, models.IMAGE_SHAPE)), models.LATENT_SIZE, models.LATENT_SIZE)
        (version.parent / "config.pbtxt").write_text(_TRITON_CONFIG % sizes)
        command = [
            str(directory / "bin" / "tritonserver"),
            f"--model-repository={models_folder}",
            f"--backend-directory={directory / 'backends'}",
            f"--grpc-port={grpc_port}",
            f"--http-port={http_port}",
            "--allow-metrics=false",
        ]
        environment = {"LD_LIBRARY_PATH": f"{directory / 'lib'}", "PATH": os.environ["PATH"]}
        with processes.running(command, log, core=server_core, environment=environment) as process:
            yield _target(_TRITON, f"127.0.0.1:{grpc_port}", process, log)


def _target(name: str, address: str, process: subprocess.Popen[bytes], log: Path) -> Target:
    """What is measured of a server, once it answers."""
    _wait_until_it_answers(process, log, address)
    return Target(
        name=name,
        address=address,
        path=INFER,
        requests={batch: _request(batch) for batch in measuring.BATCHES},
        cpu_seconds=lambda: processes.cpu_seconds(process.pid),
    )


def _environment(name: str) -> Path:
    """The Python of the peer's environment."""
    root = ENVIRONMENTS / name
    python = root / "bin" / "python"
    if not (root / "ready").exists():
        print(f"installing {PEERS[name]} (once) ...", file=sys.stderr)
        venv.create(root, with_pip=True, clear=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "-r", str(HERE / f"{name}.txt")]
        subprocess.run(install, check=True)
        (root / "ready").touch()
    return python


def _wait_until_it_answers(process: subprocess.Popen[bytes], log: Path, address: str) -> None:
    """Waits for a correct answer to a call like the measured ones.

    Raises:
        RuntimeError: the server ended, or the time is over.
    """
    import grpc

    from latens.oip import open_inference_pb2 as oip

    call_error = None
    with grpc.insecure_channel(address) as channel:
        read = oip.ModelInferResponse.FromString
        infer: Any = channel.unary_unary(INFER, response_deserializer=read)
        limit = time.monotonic() + _UP_SECONDS
        while time.monotonic() < limit and process.poll() is None:
            try:
                answer = infer(_request(1), timeout=2)
            except grpc.RpcError as error:
                call_error = error
                time.sleep(0.2)
                continue
            if len(answer.outputs) == 2 and list(answer.outputs[0].shape) == [
                1,
                models.LATENT_SIZE,
            ]:
                return
            raise RuntimeError(f"the server gave a wrong answer: {answer}")
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-8:])
    raise RuntimeError(f"the server does not answer ({call_error}):\n{tail}")


def _request(batch: int) -> bytes:
    from latens.oip import open_inference_pb2 as oip

    images = np.random.default_rng(0).random((batch, *models.IMAGE_SHAPE), np.float32)
    tensor = oip.ModelInferRequest.InferInputTensor(
        name="images", datatype="FP32", shape=images.shape
    )
    message = oip.ModelInferRequest(
        model_name="encoder", inputs=[tensor], raw_input_contents=[images.tobytes()]
    )
    return message.SerializeToString()


if __name__ == "__main__":
    main()
