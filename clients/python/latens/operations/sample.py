"""Sample: images of latents drawn from the prior."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

from latens import arguments, calls
from latens.calls import Call
from latens.chunks import BatchReply, BatchSpec, ModelRef
from latens.labels import Labels, label_rows
from latens.models import Model
from latens.operations.operation import Operation
from latens.results import Samples
from latens.v1 import latens_pb2 as pb


class Sample(Operation[Samples]):
    def __init__(
        self,
        count: int,
        seed: int | None,
        temperature: float | None,
        latent_shape: Sequence[int] | None,
        image_dtype: DTypeLike,
        labels: Labels | None = None,
    ) -> None:
        self._labels = labels
        self._count = arguments.positive("count", count)
        self._seed = arguments.seed(seed)
        self._temperature = (
            None if temperature is None else arguments.number("temperature", temperature)
        )
        self._shape = tuple(arguments.positive("latent_shape", size) for size in latent_shape or ())
        self._dtype, self._code = arguments.image_dtype(image_dtype)

    def spec(self, model: Model) -> BatchSpec:
        sizes = model.sizes_of_latent("latent_shape", self._shape)
        answer = sizes.image_bytes(self._dtype.itemsize) + sizes.latent_bytes
        labels = label_rows(self._labels, model, self._count)

        def call(ref: ModelRef, start: int, stop: int) -> Call:
            request = pb.SampleRequest(
                **ref._asdict(),
                count=stop - start,
                seed=self._seed,
                temperature=self._temperature,
                first_row=start,
                image_dtype=self._code,
                latent_shape=self._shape,
                labels=labels[start:stop],
            )
            return Call(calls.SAMPLE, request)

        return BatchSpec(self._count, answer, call, row_bytes=sizes.row_bytes)

    def result(self, reply: BatchReply) -> Samples:
        return Samples(
            images=reply.data(),
            latents=reply.array("latents"),
            seed=self._seed,
            version=reply.message.version,
            labels=np.array(reply.labels, np.int64) if reply.labels else None,
        )
