"""Score: an estimate of the log-likelihood of images."""

from __future__ import annotations

from numpy.typing import ArrayLike

from latens import arguments, calls
from latens.calls import Call
from latens.chunks import BatchReply, BatchSpec, ModelRef
from latens.labels import Labels, label_rows
from latens.models import Model
from latens.operations.operation import Operation
from latens.picture_rows import PictureArgument
from latens.results import Scores
from latens.v1 import latens_pb2 as pb


class Score(Operation[Scores]):
    def __init__(
        self,
        images: ArrayLike | PictureArgument,
        samples: int,
        seed: int | None,
        labels: Labels | None = None,
    ) -> None:
        self._labels = labels
        self._images = arguments.images("images", images)
        self._samples = arguments.positive("samples", samples)
        self._seed = arguments.seed(seed)

    def spec(self, model: Model) -> BatchSpec:
        images = arguments.image_rows(self._images, model)

        labels = label_rows(self._labels, model, len(images))

        def call(ref: ModelRef, start: int, stop: int) -> Call:
            request = pb.ScoreRequest(
                **ref._asdict(),
                samples=self._samples,
                seed=self._seed,
                first_row=start,
                labels=labels[start:stop],
            )
            return Call(calls.SCORE, request, {"images": images[start:stop]})

        sizes = model.sizes_of_image("images", images.shape[1:])
        return BatchSpec(
            items=len(images),
            item_bytes=arguments.row_bytes(images),
            call=call,
            passes=self._samples,
            row_bytes=sizes.row_bytes,
        )

    def result(self, reply: BatchReply) -> Scores:
        return Scores(
            bound=reply.array("bound"),
            standard_error=reply.find("standard_error"),
            effective_samples=reply.array("effective_samples"),
            seed=self._seed,
            version=reply.message.version,
        )
