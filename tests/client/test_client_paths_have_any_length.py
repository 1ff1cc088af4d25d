"""Paths and lines that exceed the limits of a call are split, with the same result."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest

from latens import AsyncClient, Client, errors
from latens.channel import Connection
from latens.chunks import CallBudget, ModelRef
from latens.operations import Axis, Scan, Traverse
from latens.options import CallOptions
from latens.transport import Transport
from server_process import running_server

MOST = 6
"""The rows that a call to the narrow server may carry."""
SPLIT = ("narrow server", "narrow messages", "narrow caller")


@pytest.fixture(scope="module")
def repository(model_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models of which one has an attribute, as a bundle of a labelled set has."""
    copied = tmp_path_factory.mktemp("with-attributes") / "models"
    copytree(model_repository, copied)
    manifest = copied / "mnist-2d" / "1" / "bundle.json"
    content = json.loads(manifest.read_text())
    content["spec"]["attributes"] = {"bold": [0.3, -0.7]}
    manifest.write_text(json.dumps(content))
    return copied


@pytest.fixture(scope="module")
def wide(repository: Path) -> Iterator[str]:
    with running_server(repository) as server:
        yield server.address


@pytest.fixture(scope="module")
def narrow(repository: Path) -> Iterator[str]:
    with running_server(repository, f"--max-rows={MOST}") as server:
        yield server.address


@pytest.fixture(params=SPLIT)
def clients(request: pytest.FixtureRequest, wide: str, narrow: str) -> Iterator[tuple[Client, ...]]:
    """A client whose limits fit the whole path, and one whose limits do not."""
    splitting = {
        "narrow server": lambda: Client(narrow),
        "narrow messages": lambda: Client(wide, max_message_bytes=4096 + MOST * 3200),
        "narrow caller": lambda: Client(wide, rows_per_call=MOST),
    }
    with Client(wide) as whole, splitting[request.param]() as split:
        yield whole, split


def images(count: int) -> np.ndarray:
    return np.random.default_rng(0).random((count, 1, 28, 28), np.float32)


def latents(count: int, size: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(count, size)).astype(np.float32)


@pytest.mark.parametrize("mode", ["linear", "spherical"])
@pytest.mark.parametrize("steps", [MOST + 1, 3 * MOST, 101])
def test_a_long_path_is_the_path_of_one_call(
    clients: tuple[Client, ...], mode: str, steps: int
) -> None:
    starts, ends = latents(4, 3).reshape(2, 2, 3)
    one, many = (
        client.interpolate(starts, ends, steps, mode=mode, model="point")  # type: ignore[arg-type]
        for client in clients
    )
    assert np.array_equal(one.latents, many.latents)
    assert many.images.shape == (2, steps, 1, 28, 28)
    np.testing.assert_allclose(one.images, many.images, atol=1e-5)
    assert one.version == many.version
    assert not many.images.flags.writeable
    assert not many.latents.flags.writeable


def test_the_ends_of_a_long_path_may_be_images_and_its_images_bytes(
    clients: tuple[Client, ...],
) -> None:
    starts = images(2)
    ends = np.array([[0.5, -1.0], [-0.0, 2.0]], np.float16)
    one, many = (
        client.interpolate(starts, ends, 20, image_dtype="uint8", model="mnist-2d")
        for client in clients
    )
    # A row encoded in another batch may differ by the model's tolerance, and a byte by one.
    np.testing.assert_allclose(one.latents, many.latents, atol=1e-4)
    assert np.array_equal(many.latents[:, -1], ends.astype(np.float32))
    assert many.images.dtype == np.uint8
    assert np.abs(one.images.astype(int) - many.images).max() <= 1


@pytest.mark.parametrize("axes", [(), (1,), ("bold",), (1, "bold", 0)], ids=str)
def test_a_long_line_is_the_line_of_one_call(
    clients: tuple[Client, ...], axes: tuple[Axis, ...]
) -> None:
    scan = {"axes": axes, "start": -2.3, "stop": 1.7, "steps": 25, "model": "mnist-2d"}
    for bases in (None, latents(3, 2)):
        one, many = (client.traverse(bases, **scan) for client in clients)  # type: ignore[arg-type]
        assert np.array_equal(one.latents, many.latents)
        assert one.axes == many.axes
        assert many.images.shape == one.images.shape
        np.testing.assert_allclose(one.images, many.images, atol=1e-5)


def test_the_bases_of_long_lines_may_be_images(clients: tuple[Client, ...]) -> None:
    one, many = (
        client.traverse(images(2), axes=(0, "bold"), steps=9, model="mnist-2d")
        for client in clients
    )
    np.testing.assert_allclose(one.latents, many.latents, atol=1e-4)
    np.testing.assert_allclose(one.images, many.images, atol=1e-3)


def test_an_attribute_is_that_of_the_version_that_answers(narrow: str) -> None:
    with Client(narrow) as client:
        known = client.model("mnist-2d")
        right = client.traverse(axes=("bold",), steps=9, model="mnist-2d")
    outdated = replace(known, version="0", attributes={"bold": (9.0, 9.0)})
    scan = Scan(axes=("bold",), start=-3, stop=3, steps=9, bases_are=None)
    plan = Traverse(None, scan, np.float32).plan(
        outdated, ModelRef("mnist-2d"), CallBudget(outdated.limits, 2**20)
    )
    transport = Transport(Connection(narrow, None, None, 2**20), CallOptions(60, 4))
    try:
        assert np.array_equal(transport.run(plan).latents, right.latents)
    finally:
        transport.close()


async def test_the_async_client_splits_long_paths_too(wide: str, narrow: str) -> None:
    starts, ends = latents(2, 2).reshape(2, 1, 2)
    async with AsyncClient(narrow) as split:
        path = await split.interpolate(starts, ends, 50, mode="spherical", model="mnist-2d")
        lines = await split.traverse(starts, steps=50, model="mnist-2d")
        drawn = await split.sample(50, seed=3, model="mnist-2d")
    with Client(wide) as whole:
        one = whole.interpolate(starts, ends, 50, mode="spherical", model="mnist-2d")
        assert np.array_equal(one.latents, path.latents)
        np.testing.assert_allclose(one.images, path.images, atol=1e-5)
        one_line = whole.traverse(starts, steps=50, model="mnist-2d")
        assert np.array_equal(one_line.latents, lines.latents)
        np.testing.assert_allclose(one_line.images, lines.images, atol=1e-5)
        assert np.array_equal(whole.sample(50, seed=3, model="mnist-2d").latents, drawn.latents)


def test_progress_of_a_long_path_counts_its_points(narrow: str) -> None:
    said: list[tuple[int, int]] = []
    starts, ends = latents(2, 2).reshape(2, 1, 2)
    with Client(narrow) as client:
        client.interpolate(
            starts, ends, 14, progress=lambda done, total: said.append((done, total))
        )
    assert said == [(6, 14), (12, 14), (14, 14)]


BAD: dict[str, tuple[Callable[[Client], object], str]] = {
    "ends of another size": (lambda c: c.interpolate([[0.0] * 5], [[0.0] * 5], 99), "starts"),
    "an end that is no number": (
        lambda c: c.interpolate([[0.0, 0.0]], [[0.0, np.nan]], 99),
        "ends.latents",
    ),
    "an unknown attribute": (lambda c: c.traverse(axes=("serif",), steps=99), "axes[0].attribute"),
    "a coordinate beyond the last": (lambda c: c.traverse(axes=(2,), steps=99), "axes[0]"),
    "an infinite start": (lambda c: c.traverse(start=-np.inf, steps=99), "start"),
    "one step on too many lines": (lambda c: c.traverse(axes=(0,) * 99, steps=1), "steps"),
}


@pytest.mark.parametrize("case", BAD)
def test_errors_of_long_and_short_paths_are_alike(narrow: str, case: str) -> None:
    walk, field = BAD[case]
    with Client(narrow) as client, pytest.raises(errors.InvalidInputError) as failure:
        walk(client)
    assert failure.value.field_violations[0].field.startswith(field)


@pytest.mark.parametrize("steps", [10**15, 2**62])
def test_a_path_that_exceeds_memory_is_too_large(narrow: str, steps: int) -> None:
    with Client(narrow) as client:
        with pytest.raises(errors.TooLargeError, match="does not fit into memory"):
            client.interpolate([[0.0, 0.0]], [[1.0, 1.0]], steps)
        with pytest.raises(errors.TooLargeError, match="does not fit into memory"):
            client.traverse(steps=steps)
        with pytest.raises(errors.TooLargeError, match="does not fit into memory"):
            client.sample(steps)
        assert client.sample(1).images.shape == (1, 1, 28, 28)
