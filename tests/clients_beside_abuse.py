"""Measures the largest wait of valid callers while other clients abuse the server.

Run as a program, so that the load of the abuse itself does not delay them: calls over gRPC, over
HTTP, and for a probe, one after the other, until the standard input ends.
"""

from __future__ import annotations

import http.client
import select
import sys
import time
from collections.abc import Callable

import grpc

from latens.v1 import latens_pb2 as pb
from latens.v1 import latens_pb2_grpc

_USUAL_SECONDS = 1.0
_PAUSE_SECONDS = 0.005


def main(address: str, http_address: str) -> None:
    """Prints the usual largest wait, then calls until the input ends and prints the largest."""
    with grpc.insecure_channel(address) as channel:
        stub = latens_pb2_grpc.LatentServiceStub(channel)
        calls: tuple[Callable[[], object], ...] = (
            lambda: stub.Sample(pb.SampleRequest(count=1, seed=1), timeout=60),
            lambda: _fetch(
                http_address, "POST", "/latens.v1.LatentService/Sample", '{"count":1,"seed":1}'
            ),
            lambda: _fetch(http_address, "GET", "/readyz"),
        )
        _largest_wait(calls * 5)
        begun, usual = time.perf_counter(), 0.0
        while time.perf_counter() < begun + _USUAL_SECONDS:
            usual = max(usual, _largest_wait(calls))
            time.sleep(_PAUSE_SECONDS)
        print(usual, flush=True)
        largest = 0.0
        while not select.select([sys.stdin], [], [], _PAUSE_SECONDS)[0]:
            largest = max(largest, _largest_wait(calls))
    print(largest)


def _largest_wait(calls: tuple[Callable[[], object], ...]) -> float:
    largest = 0.0
    for call in calls:
        begun = time.perf_counter()
        call()
        largest = max(largest, time.perf_counter() - begun)
    return largest


def _fetch(address: str, method: str, path: str, body: str | None = None) -> None:
    connection = http.client.HTTPConnection(address, timeout=60)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        content = answer.read()
        assert answer.status == 200, (answer.status, content[:200])
    finally:
        connection.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
