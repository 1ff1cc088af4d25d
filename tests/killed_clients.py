"""Client processes that die while a server works for them."""

from __future__ import annotations

import asyncio
import signal
import sys

from server_process import Server


async def clients_killed_in_mid_call(server: Server, count: int) -> None:
    """Client processes that are killed while the server works for them."""
    code = (
        "import sys, grpc, latens\n"
        "from latens.v1 import latens_pb2 as pb, latens_pb2_grpc as g\n"
        "stub = g.LatentServiceStub(grpc.insecure_channel(sys.argv[1]))\n"
        "latens.Client(sys.argv[1]).sample(1)\n"  # repeats what a full queue refuses
        "print('calling', flush=True)\n"
        "while True:\n"
        "    calls = [stub.Sample.future(pb.SampleRequest(count=1000)) for _ in range(4)]\n"
        "    [call.exception() for call in calls]\n"
    )
    for _ in range(count):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", code, server.address), stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        await process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        await process.communicate()
