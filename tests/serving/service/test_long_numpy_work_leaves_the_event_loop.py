"""numpy work above a millisecond is done in a thread; short work is done at once."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import numpy as np
import pytest

from latens.tensors import to_message
from latens.v1 import latens_pb2 as pb
from latens_serving.bundle.spec import (
    Likelihood,
    ModelSpec,
    Posterior,
    fixed_image_axes,
    fixed_latent_axes,
)
from latens_serving.calls.context import CallContext
from latens_serving.models.model import CallLimits, PosteriorRows
from latens_serving.service import noise, validation
from latens_serving.service.offload import DRAWS, offload
from latens_serving.service.sample import sample
from latens_serving.service.score import score

LATENTS = 64


class Model:
    """A model of 4-pixel images whose graphs cost nothing."""

    version = "1"
    name = "toy"
    fitted_prior = None
    limits = CallLimits(1 << 20, 1 << 30, 1 << 30)
    spec = ModelSpec(
        data_axes=fixed_image_axes((1, 2, 2)),
        latent_axes=fixed_latent_axes((LATENTS,)),
        likelihood=Likelihood.BERNOULLI,
        posterior=Posterior.DIAGONAL_GAUSSIAN,
        tolerance=1e-4,
    )

    async def encode(self, images: np.ndarray, *_: object) -> PosteriorRows:
        zeros = np.zeros((len(images), LATENTS), np.float32)
        return PosteriorRows(zeros, zeros)

    async def decode(self, latents: np.ndarray, *_: object) -> np.ndarray:
        return np.full((len(latents), 1, 2, 2), 0.5, np.float32)


@pytest.fixture
def drawn_in(monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    """The threads in which noise was drawn."""
    threads: list[threading.Thread] = []
    draw = noise.standard_normal

    def watched(*arguments: Any) -> Any:
        threads.append(threading.current_thread())
        return draw(*arguments)

    monkeypatch.setattr("latens_serving.service.noise.standard_normal", watched)
    monkeypatch.setattr("latens_serving.service.score.standard_normal", watched)
    return threads


async def test_the_noise_of_a_large_score_is_not_drawn_on_the_loop(
    drawn_in: list[threading.Thread],
) -> None:
    model: Any = Model()
    images = to_message(np.zeros((1, 1, 2, 2), np.float32))
    await score(pb.ScoreRequest(images=images, samples=10_000), model, CallContext())
    await score(pb.ScoreRequest(images=images, samples=2), model, CallContext())
    assert [thread is threading.main_thread() for thread in drawn_in] == [False, True]


async def test_many_prior_draws_are_not_drawn_on_the_loop(
    drawn_in: list[threading.Thread],
) -> None:
    model: Any = Model()
    await sample(pb.SampleRequest(count=9_000), model, CallContext())
    await sample(pb.SampleRequest(count=DRAWS // LATENTS), model, CallContext())
    assert [thread is threading.main_thread() for thread in drawn_in] == [False, True]


async def test_large_images_are_checked_off_the_loop() -> None:
    threads: list[threading.Thread] = []

    def check(given: Any, field: str, model: Any) -> Any:
        del field, model
        threads.append(threading.current_thread())
        return given

    model: Any = None
    for rows in (1, 1 << 20):
        await validation.checked(check, np.zeros((rows, 4), np.float32), "images", model)
    assert [thread is threading.main_thread() for thread in threads] == [True, False]


async def test_the_loop_goes_on_while_long_work_is_done() -> None:
    may_end = threading.Event()
    waiting = asyncio.ensure_future(offload(True, may_end.wait, 60))
    for _ in range(100):
        await asyncio.sleep(0)
    assert not waiting.done()
    may_end.set()
    assert await waiting


async def test_an_error_of_long_work_is_raised_to_its_caller() -> None:
    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await offload(True, fail)
