"""Measures the peak increase of a running server's memory in one large Encode call. Linux only.

latens-serve --repository models --frontend http2           in another terminal
python benchmarks/memory.py --pid PID --model mnist
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import grpc
import numpy as np

from latens.tensors import to_message
from latens.v1 import latens_pb2 as pb
from latens.v1 import latens_pb2_grpc

_MIB = 1 << 20
_UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


def main() -> None:
    """Makes the largest call that the model accepts, once as float32 and once as uint8."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pid", type=int, required=True, help="of the server")
    parser.add_argument("--address", default="127.0.0.1:50051")
    parser.add_argument("--model", default="mnist")
    options = parser.parse_args()
    print("| images | request MiB | peak increase MiB | times the request |\n|---|---|---|---|")
    with grpc.insecure_channel(options.address, options=_UNLIMITED) as channel:
        stub = latens_pb2_grpc.LatentServiceStub(channel)
        model = stub.GetModel(pb.GetModelRequest(model=options.model)).model
        shape = (model.limits.max_rows, *model.image_shape)
        noise = np.random.default_rng(0).random(shape, np.float32)
        for images in (noise, (noise * 255).astype(np.uint8)):
            request = pb.EncodeRequest(model=options.model, images=to_message(images))
            size = request.ByteSize() / _MIB
            before = _reset_peak(options.pid)
            stub.Encode(request, timeout=60)
            added = _mebibytes(options.pid, "VmHWM") - before
            print(f"| {images.dtype} | {size:.1f} | {added:.1f} | {added / size:.1f} |")


def _reset_peak(pid: int) -> float:
    """Resets the peak to the present memory; returns the latter in MiB."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return _mebibytes(pid, "VmRSS")


def _mebibytes(pid: int, field: str) -> float:
    found = re.search(rf"{field}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


if __name__ == "__main__":
    main()
