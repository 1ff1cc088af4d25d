"""The client: numpy in, numpy out."""
# The arguments that all methods share are described once, with the class:
# ruff: noqa: D417

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from latens import operations
from latens.channel import DEFAULT_ADDRESS, DEFAULT_TIMEOUT, MAX_MESSAGE_BYTES, Tls
from latens.chunks import Progress, model_ref
from latens.health import Health
from latens.labels import Labels
from latens.models import Model
from latens.operations import Axis, Chain, Kind, Mode, Operation, Scan, Shifts, Walk
from latens.options import ClientSettings
from latens.picture_rows import PictureArgument
from latens.plans import Plans
from latens.results import (
    SCORE_SAMPLES,
    Codes,
    Decoding,
    Encoding,
    Inpainting,
    Models,
    Paths,
    Reconstruction,
    Result,
    Samples,
    Scores,
    Traversal,
)
from latens.transport import Transport

T = TypeVar("T", bound=Result)


class Client:
    """A connection to a server, or to several that serve the same models.

    Every method is safe to call from several threads. Pass batches of any size: the client splits
    them to fit the server's limits, and the result is the same however they were split. Calls that
    find no server or a full queue are tried again (5 times in all, within the timeout), since no
    call changes anything. A client can be pickled: the copy makes a connection of its own.

    All methods that take a batch share these arguments:

    * images: arrays, or picture files: a path, a folder's path, a picture of Pillow, or a list of
      them. Pictures are fitted to the model (see `latens.pictures`), and read when their call is
      sent, so that a folder of any size fits into memory. A model of another modality takes arrays
      of its items, `[n, *image_shape]`.
    * `model` and `version`: empty for the server's default, and for the newest that is ready.
    * `seed`: the same seed gives the same noise; if None, one is chosen and returned.
    * `image_dtype`: of the images returned: float32 or float16 in [0, 1], or uint8 in 0..255.
    * `labels`: of a conditional model (`Model.label_count`) the class of each row, or one for all:
      numbers, or names of `Model.label_names`. Others take none. `sample` without labels draws the
      classes in turn. A path and a line have one class; encode its ends first where they have two.
    * `progress`: called after each call with the items done and the items in all. Where one path
      or base has more points than a call may carry, the items are the points.
    * `timeout`: seconds for each call of the batch; None for the client's, infinity for no bound.

    Args:
        address: `host:port`, a URL such as `grpcs://host:port`, or several joined by commas to
            spread the calls over.
        tls: how to verify the server; None for a connection without TLS.
        token: a bearer token, or a function that returns the present one.
        timeout: seconds that one call may take, retries included; None for no bound. A batch that
            is split makes several calls.
        max_in_flight: how many calls of a split batch may be under way at a time.
        rows_per_call: split batches into calls of at most this many rows, even where the server
            takes more; None for the server's limits. (The ends of a path stay together.)
        max_message_bytes: the largest message to send or receive.

    Raises:
        ValueError: an argument of the constructor is invalid.
        LatensError: from every method, one class per reason; see `latens.errors`.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        tls: Tls | None = None,
        token: str | Callable[[], str] | None = None,
        timeout: float | None = DEFAULT_TIMEOUT,
        max_in_flight: int = 4,
        rows_per_call: int | None = None,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
    ) -> None:
        self._settings = ClientSettings(
            address, tls, token, timeout, max_in_flight, rows_per_call, max_message_bytes
        )
        self._plans = Plans(max_message_bytes, rows_per_call)
        self._transport = Transport(self._settings.connection(), self._settings.call_options())

    def __repr__(self) -> str:
        return self._settings.describe(type(self).__name__)

    def __getstate__(self) -> dict[str, Any]:
        return self._settings.arguments()

    def __setstate__(self, arguments: dict[str, Any]) -> None:
        self.__init__(**arguments)  # type: ignore[misc]

    def models(self, *, timeout: float | None = None) -> Models:
        """Lists the models that the server holds, refused ones included."""
        return self._transport.run(self._plans.list_models(), timeout)

    def model(self, model: str = "", version: str = "", *, timeout: float | None = None) -> Model:
        """Describes one model: shapes, value ranges, provenance, limits."""
        return self._transport.run(self._plans.model(model_ref(model, version)), timeout)

    def encode(
        self,
        images: ArrayLike | PictureArgument,
        *,
        draw: bool = False,
        seed: int | None = None,
        labels: Labels | None = None,
        model: str = "",
        version: str = "",
        progress: Progress | None = None,
        timeout: float | None = None,
    ) -> Encoding:
        """Encodes images to the mean and log-variance of their approximate posterior q(z|x).

        Args:
            images: `[n, channels, height, width]`, uint8 in 0..255 or floating in [0, 1]; of a
                model with one channel also `[n, height, width]`.
            draw: also draw one latent per image from its posterior; implied by a seed.
        """
        return self._run(
            operations.Encode(images, draw, seed, labels), model, version, progress, timeout
        )

    def encode_codes(
        self,
        images: ArrayLike | PictureArgument,
        *,
        model: str = "",
        version: str = "",
        progress: Progress | None = None,
        timeout: float | None = None,
    ) -> Codes:
        """Encodes images to codes, by a model with a codebook (`Model.codebook_size`).

        Args:
            images: as for `encode`.
        """
        encode = operations.EncodeCodes(images)
        return self._run(encode, model, version, progress, timeout)

    def decode(
        self,
        latents: ArrayLike,
        *,
        attributes: Shifts | None = None,
        labels: Labels | None = None,
        model: str = "",
        version: str = "",
        image_dtype: DTypeLike = np.float32,
        progress: Progress | None = None,
        timeout: float | None = None,
    ) -> Decoding:
        """Decodes latents to images: the mean of p(x|z).

        Args:
            latents: `[n, *latent_shape]`, finite; whole numbers, the codes, for a model with a
                codebook.
            attributes: directions of the model to add first, by name, each with its strength.
        """
        decode = operations.Decode(latents, attributes, image_dtype, labels)
        return self._run(decode, model, version, progress, timeout)

    def sample(
        self,
        count: int,
        *,
        seed: int | None = None,
        temperature: float | None = None,
        latent_shape: Sequence[int] | None = None,
        labels: Labels | None = None,
        model: str = "",
        version: str = "",
        image_dtype: DTypeLike = np.float32,
        progress: Progress | None = None,
        timeout: float | None = None,
    ) -> Samples:
        """Draws latents from the model's prior and decodes them.

        Args:
            count: how many, 1 or more.
            temperature: the standard deviation of the latents drawn, relative to the prior's; 1 if
                None.
            latent_shape: of one latent; needed where the model leaves sizes free.
        """
        sample = operations.Sample(count, seed, temperature, latent_shape, image_dtype, labels)
        return self._run(sample, model, version, progress, timeout)

    def interpolate(
        self,
        starts: ArrayLike | PictureArgument,
        ends: ArrayLike | PictureArgument,
        steps: int,
        *,
        mode: Mode = "linear",
        ends_are: Kind | None = None,
        labels: Labels | None = None,
        model: str = "",
        version: str = "",
        image_dtype: DTypeLike = np.float32,
        progress: Progress | None = None,
        timeout: float | None = None,
    ) -> Paths:
        """Decodes a path of latents between each pair of ends.

        Args:
            starts: latents `[n, *latent_shape]`, or images, which stand for their posterior's mean.
            ends: as many rows as `starts`.
            steps: points on each path, both ends included: 2 or more.
            mode: `linear` for a straight line, `spherical` for an arc of constant angular speed.
            ends_are: `latents` or `images`; inferred from type and shape if None.
        """
        walk = operations.Interpolate(
            starts, ends, Walk(steps, mode, ends_are), image_dtype, labels
        )
        return self._run(walk, model, version, progress, timeout)

    def reconstruct(
        self,
        images: ArrayLike | PictureArgument,
        *,
        draw: bool = False,
        seed: int | None = None,
        attributes: Shifts | None = None,
        labels: Labels | None = None,
        model: str = "",
        version: str = "",
        image_dtype: DTypeLike = np.float32,
        progress: Progress | None = None,
        timeout: float | None = None,
    ) -> Reconstruction:
        """Encodes images and decodes them again, with the reconstruction error and KL of each.

        Args:
            images: as for `encode`.
            draw: decode a draw from each posterior instead of its mean; implied by a seed.
            attributes: as for `decode`, to change something of the images.
        """
        reconstruct = operations.Reconstruct(images, draw, seed, attributes, image_dtype, labels)
        return self._run(reconstruct, model, version, progress, timeout)

    def traverse(
        self,
        bases: ArrayLike | PictureArgument | None = None,
        *,
        axes: Sequence[Axis] = (),
        start: float = -3.0,
        stop: float = 3.0,
        steps: int = 11,
        bases_are: Kind | None = None,
        labels: Labels | None = None,
        model: str = "",
        version: str = "",
        image_dtype: DTypeLike = np.float32,
        progress: Progress | None = None,
        timeout: float | None = None,
    ) -> Traversal:
        """Decodes lines of latents through base points, each along one coordinate or attribute.

        Args:
            bases: latents `[n, *latent_shape]` or images; the prior's mean alone if None.
            axes: coordinates by number, which take the values, and attributes by name, which are
                added times the values; every coordinate if empty.
            start: the first value on each line.
            stop: the last one.
            steps: values on each line, both ends included: 2 or more.
            bases_are: `latents` or `images`; inferred from type and shape if None.
        """
        scan = Scan(axes, start, stop, steps, bases_are)
        traverse = operations.Traverse(bases, scan, image_dtype, labels)
        return self._run(traverse, model, version, progress, timeout)

    def inpaint(
        self,
        images: ArrayLike | PictureArgument,
        masks: ArrayLike,
        *,
        iterations: int = 100,
        average: int = 1,
        seed: int | None = None,
        labels: Labels | None = None,
        model: str = "",
        version: str = "",
        image_dtype: DTypeLike = np.float32,
        progress: Progress | None = None,
        timeout: float | None = None,
    ) -> Inpainting:
        """Fills the missing pixels of images by the Markov chain of Rezende et al. (2014).

        Args:
            images: as for `encode`; the values of missing pixels are ignored.
            masks: true where a pixel is missing: like the images, or one `[height, width]` for all.
            iterations: steps of the chain, all images together.
            average: how many of the last iterations the missing pixels are averaged over.
        """
        chain = Chain(iterations, average, seed)
        inpaint = operations.Inpaint(images, masks, chain, image_dtype, labels)
        return self._run(inpaint, model, version, progress, timeout)

    def score(
        self,
        images: ArrayLike | PictureArgument,
        *,
        samples: int = SCORE_SAMPLES,
        seed: int | None = None,
        labels: Labels | None = None,
        model: str = "",
        version: str = "",
        progress: Progress | None = None,
        timeout: float | None = None,
    ) -> Scores:
        """Estimates log p(x) of images by its importance-weighted lower bound (Burda et al. 2016).

        Args:
            images: as for `encode`.
            samples: importance samples per image; more make the bound tighter.

        Returns:
            The bounds with their errors. Two errors contain log p(x) less often than a normal error
            would; what was measured is in `docs/scores.md`.
        """
        score = operations.Score(images, samples, seed, labels)
        return self._run(score, model, version, progress, timeout)

    def health(self, service: str = "", *, timeout: float | None = None) -> Health:
        """Asks for the health of the server, or of a service such as `latens.v1.LatentService`.

        Asked on a connection of its own, which a draining server still answers.
        """
        return self._transport.check(service, timeout)

    def close(self) -> None:
        """Closes the connection; calls under way fail with CallCancelledError."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _run(
        self,
        operation: Operation[T],
        model: str,
        version: str,
        progress: Progress | None,
        timeout: float | None,
    ) -> T:
        plan = self._plans.run(operation, model_ref(model, version), progress)
        return self._transport.run(plan, timeout)
