"""Prints, as JSON, the files of the server that one Encode call passes, in order.

usage: encode_way.py FRONTEND REPOSITORY
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from types import FrameType
from typing import Any

from latens_serving.server import Server
from latens_serving.settings import Settings

PACKAGE = "/latens_serving/"
CALLER = """
import sys, grpc, numpy as np
from latens.tensors import to_message
from latens.v1 import latens_pb2 as pb, latens_pb2_grpc
stub = latens_pb2_grpc.LatentServiceStub(grpc.insecure_channel(sys.argv[1]))
images = to_message(np.zeros((1, 1, 28, 28), np.float32))
for _ in range(2):
    stub.Encode(pb.EncodeRequest(model="mnist-2d", images=images))
    print("answered", flush=True)
    sys.stdin.readline()
"""


async def trace(frontend: str, repository: str) -> list[str]:
    """The files of the second call: what is done once a connection is over by then."""
    settings = Settings(
        repository=repository, port=0, http_port=0, frontend=frontend, watch_seconds=0,
        canary_seconds=0, drift_seconds=0,
    )  # fmt: skip
    server = Server(settings)
    await server.start()
    passed: dict[str, None] = {}

    def profile(frame: FrameType, event: str, _: Any) -> None:
        _, found, file = frame.f_code.co_filename.rpartition(PACKAGE)
        if event == "call" and found:
            passed.setdefault(file)

    caller = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", CALLER, f"127.0.0.1:{server.port}"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert caller.stdin is not None
    assert caller.stdout is not None
    await caller.stdout.readline()
    sys.setprofile(profile)
    caller.stdin.write(b"\n")
    await caller.stdout.readline()
    sys.setprofile(None)
    caller.kill()
    await caller.wait()
    return list(passed)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(trace(*sys.argv[1:]))), flush=True)
    os._exit(0)
