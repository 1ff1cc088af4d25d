"""A cached description is requested again when the model has changed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from test_client_chunks import drive

from latens import errors, operations, wire
from latens.calls import Call
from latens.chunks import ModelRef
from latens.errors import ErrorDetails
from latens.plans import Plans
from latens.v1 import latens_pb2 as pb


class Server:
    """Encodes images of one shape, and refuses others as a server does."""

    def __init__(self) -> None:
        self.version, self.image_shape, self.latents = "1", [1, 2, 2], 2
        self.asked: list[str] = []

    def __call__(self, call: Call) -> bytes:
        self.asked.append(call.method.name)
        if call.method.name == "GetModel":
            model = pb.Model(
                version=self.version,
                image_shape=self.image_shape,
                latent_shape=[self.latents],
                limits=pb.ModelLimits(max_rows=4, max_message_bytes=2**20),
            )
            return pb.GetModelResponse(model=model).SerializeToString()
        images = call.arrays["images"]
        if list(images.shape[1:]) != self.image_shape:
            raise errors.InvalidInputError("images.shape", details=ErrorDetails("INVALID_INPUT"))
        mean = np.zeros((len(images), self.latents), np.float32)
        return wire.serialize(pb.EncodeResponse(version=self.version), {"mean": mean})


def encode(plans: Plans, server: Server, shape: tuple[int, ...]) -> Any:
    operation = operations.Encode(np.zeros(shape, np.float32), False, None)
    return drive(plans.run(operation, ModelRef(), None), server)


def test_images_of_a_new_versions_shape_are_encoded() -> None:
    server, plans = Server(), Plans(2**20, None)
    encode(plans, server, (3, 2, 2))
    server.version, server.image_shape, server.latents = "2", [1, 3, 3], 5
    assert encode(plans, server, (3, 3, 3)).mean.shape == (3, 5)  # without a channel axis
    assert server.asked == ["GetModel", "Encode", "Encode", "GetModel", "Encode"]


def test_a_refusal_of_an_unchanged_model_is_not_repeated() -> None:
    server, plans = Server(), Plans(2**20, None)
    encode(plans, server, (3, 2, 2))
    with pytest.raises(errors.InvalidInputError):
        encode(plans, server, (3, 7, 7))
    assert server.asked == ["GetModel", "Encode", "Encode", "GetModel"]


def test_after_an_answer_of_another_version_the_description_is_requested() -> None:
    server, plans = Server(), Plans(2**20, None)
    encode(plans, server, (3, 2, 2))
    server.version = "2"
    for _ in range(3):
        encode(plans, server, (3, 2, 2))
    assert server.asked == ["GetModel", "Encode", "Encode", "GetModel", "Encode", "Encode"]
