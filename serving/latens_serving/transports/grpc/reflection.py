"""Server reflection, v1alpha and v1: the same messages under two names."""

from __future__ import annotations

import grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2
from grpc_reflection.v1alpha.reflection import aio

from latens_serving.transports.grpc.handlers import Services

_V1 = "grpc.reflection.v1.ServerReflection"


def add_reflection(services: Services, names: tuple[str, ...]) -> None:
    """Lets clients ask the server for the descriptors of the services of these names."""
    listed = (*names, reflection.SERVICE_NAME, _V1)
    handler = grpc.stream_stream_rpc_method_handler(
        aio.ReflectionServicer(listed).ServerReflectionInfo,
        reflection_pb2.ServerReflectionRequest.FromString,
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    for name in (reflection.SERVICE_NAME, _V1):
        services.add_registered_method_handlers(name, {"ServerReflectionInfo": handler})
