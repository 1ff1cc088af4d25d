"""Clients without proto files get the services from the server, on both front ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2 as pb

from server_process import Server, running_server


@pytest.fixture(scope="module", params=["grpcio", "http2"])
def either(request: pytest.FixtureRequest, model_repository: Path) -> Iterator[Server]:
    with running_server(model_repository, f"--frontend={request.param}") as server:
        yield server


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_services_are_listed_and_described_in_one_conversation(
    either: Server, version: str
) -> None:
    questions = (
        pb.ServerReflectionRequest(list_services=""),
        pb.ServerReflectionRequest(file_containing_symbol="latens.v1.LatentService"),
        pb.ServerReflectionRequest(file_containing_symbol="no.such.Service"),
    )
    with grpc.insecure_channel(either.address) as channel:
        method = channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            pb.ServerReflectionRequest.SerializeToString,
            pb.ServerReflectionResponse.FromString,
        )
        listed, described, unknown = method(iter(questions), timeout=20)
    names = {service.name for service in listed.list_services_response.service}
    assert {"latens.v1.LatentService", "grpc.health.v1.Health"} <= names
    assert "inference.GRPCInferenceService" in names
    assert not any("admin" in name for name in names)
    assert described.file_descriptor_response.file_descriptor_proto
    assert unknown.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
