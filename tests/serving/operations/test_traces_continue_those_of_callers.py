"""A span for each call, in the caller's trace; none unless asked for."""

from __future__ import annotations

import contextlib
import gzip
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from latens.oip import open_inference_pb2 as oip
from latens.oip import open_inference_pb2_grpc
from latens.v1 import latens_pb2 as pb
from latens.v1 import latens_pb2_grpc
from server_process import running_server

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CALLERS = [("traceparent", f"00-{TRACE}-{PARENT}-01"), ("authorization", "Bearer secret")]


class Collector:
    """Takes spans as a collector does."""

    def __init__(self) -> None:
        self.spans: list[trace_pb2.Span] = []
        self.services: set[str] = set()
        heard = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                request = trace_service_pb2.ExportTraceServiceRequest()
                request.ParseFromString(_plain(body, self.headers.get("content-encoding")))
                heard.take(request)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def take(self, request: trace_service_pb2.ExportTraceServiceRequest) -> None:
        for resource in request.resource_spans:
            self.services |= {
                attribute.value.string_value
                for attribute in resource.resource.attributes
                if attribute.key == "service.name"
            }
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _plain(body: bytes, encoding: str | None) -> bytes:

    return gzip.decompress(body) if encoding == "gzip" else body


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


@pytest.mark.parametrize("frontend", ["grpcio", "http2"])
def test_each_call_is_a_span_of_the_callers_trace(
    model_repository: Path, collector: Collector, frontend: str
) -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    flags = ("--tracing", f"--frontend={frontend}")
    with (
        running_server(model_repository, *flags, environment=environment) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        stub = latens_pb2_grpc.LatentServiceStub(channel)
        stub.Sample(pb.SampleRequest(count=3), timeout=20, metadata=CALLERS)
        with pytest.raises(grpc.RpcError):
            stub.Sample(pb.SampleRequest(), timeout=20, metadata=CALLERS)
    good, bad = sorted(collector.spans, key=lambda span: span.start_time_unix_nano)
    assert collector.services == {"latens"}
    for span in (good, bad):
        assert span.name == "latens.v1.LatentService/Sample"
        assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
        assert "secret" not in str(span)
    facts = {attribute.key: attribute.value for attribute in good.attributes}
    assert facts["latens.model"].string_value == "mnist-2d"
    assert facts["latens.rows"].int_value == 3
    assert facts["rpc.grpc.status_code"].int_value == 0
    assert bad.status.code == trace_pb2.Status.STATUS_CODE_ERROR
    assert bad.status.message == ""  # the error's text is for the log and the caller
    (code,) = [a.value.int_value for a in bad.attributes if a.key == "rpc.grpc.status_code"]
    assert code == grpc.StatusCode.INVALID_ARGUMENT.value[0]


@pytest.mark.parametrize("frontend", ["grpcio", "http2"])
def test_a_call_by_http_and_a_stream_are_spans_of_the_callers_trace_too(
    model_repository: Path, collector: Collector, frontend: str
) -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    flags = ("--tracing", f"--frontend={frontend}")
    with (
        running_server(model_repository, *flags, environment=environment) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        health: Any = health_pb2_grpc.HealthStub(channel)
        watch = health.Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        stub: Any = open_inference_pb2_grpc.GRPCInferenceServiceStub(channel)
        asked = iter([oip.ModelInferRequest(model_name="none")] * 2)
        answers = list(stub.ModelStreamInfer(asked, timeout=60, metadata=CALLERS))
        assert [bool(answer.error_message) for answer in answers] == [True, True]
        headers = {"content-type": "application/json", **dict(CALLERS)}
        for body in (b'{"count": 3}', b'{"count": 0}'):
            url = f"http://{server.http_address}/latens.v1.LatentService/Sample"
            request = urllib.request.Request(url, body, headers)
            with (
                contextlib.suppress(urllib.error.HTTPError),
                urllib.request.urlopen(request, timeout=60) as answer,
            ):
                answer.read()
        watch.cancel()
    stream, good, bad = sorted(collector.spans, key=lambda span: span.start_time_unix_nano)
    assert stream.name == "inference.GRPCInferenceService/ModelStreamInfer"
    for span in (stream, good, bad):
        assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
        assert "secret" not in str(span)
    assert good.name == bad.name == "latens.v1.LatentService/Sample"
    facts = {attribute.key: attribute.value for attribute in good.attributes}
    assert facts["rpc.system"].string_value == "connect_rpc"
    assert facts["latens.rows"].int_value == 3
    assert facts["rpc.grpc.status_code"].int_value == 0
    assert bad.status.code == trace_pb2.Status.STATUS_CODE_ERROR
    assert bad.status.message == ""  # the error's text is for the log and the caller
    (code,) = [a.value.int_value for a in bad.attributes if a.key == "rpc.grpc.status_code"]
    assert code == grpc.StatusCode.INVALID_ARGUMENT.value[0]


def test_nothing_is_sent_unless_asked_for(model_repository: Path, collector: Collector) -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    with (
        running_server(model_repository, environment=environment) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        stub = latens_pb2_grpc.LatentServiceStub(channel)
        stub.Sample(pb.SampleRequest(count=1), timeout=20, metadata=CALLERS)
    assert collector.spans == []
