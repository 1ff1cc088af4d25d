"""A path keeps its ends, its shape and its speed, also where no single arc exists."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from latens.paths import linear_path, spherical_path

Path = Callable[[np.ndarray, np.ndarray, int], np.ndarray]
PATHS = pytest.mark.parametrize("path", [linear_path, spherical_path])


def latents(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32)


@PATHS
@settings(max_examples=100)
@given(data=st.data(), size=st.integers(1, 6), steps=st.integers(2, 9))
def test_any_finite_ends_give_a_finite_path_with_exactly_those_ends(
    path: Path, data: st.DataObject, size: int, steps: int
) -> None:
    ends = hnp.arrays(np.float32, (3, size), elements=st.floats(-1e6, 1e6, width=32))
    starts, goals = data.draw(ends), data.draw(ends)
    walked = path(starts, goals, steps)
    assert walked.shape == (3, steps, size)
    assert walked.dtype == np.float32
    assert np.isfinite(walked).all()
    np.testing.assert_array_equal(walked[:, 0], starts)
    np.testing.assert_array_equal(walked[:, -1], goals)


@PATHS
def test_a_latent_of_any_rank_is_interpolated_as_one_vector(path: Path) -> None:
    rng = np.random.default_rng(0)
    starts, goals = rng.normal(size=(2, 4, 2, 3, 5)).astype(np.float32)
    walked = path(starts, goals, 7)
    assert walked.shape == (4, 7, 2, 3, 5)
    flat = path(starts.reshape(4, -1), goals.reshape(4, -1), 7)
    np.testing.assert_array_equal(walked.reshape(4, 7, -1), flat)


def test_a_line_has_even_steps() -> None:
    walked = linear_path(latents([0, 0]), latents([4, -8]), 5)
    np.testing.assert_array_equal(walked[0], latents([0, 0], [1, -2], [2, -4], [3, -6], [4, -8]))


def test_an_arc_turns_evenly_while_its_length_grows_evenly() -> None:
    rng = np.random.default_rng(1)
    starts, goals = rng.normal(size=(2, 20, 10)).astype(np.float32)
    walked = spherical_path(starts, goals, 11).astype(np.float64)
    lengths = np.linalg.norm(walked, axis=2)
    expected = np.linspace(lengths[:, 0], lengths[:, -1], 11).T
    np.testing.assert_allclose(lengths, expected, rtol=1e-5)
    units = walked / lengths[..., None]
    turns = np.arccos(np.clip((units[:, 1:] * units[:, :-1]).sum(axis=2), -1, 1))
    np.testing.assert_allclose(turns, turns.mean(axis=1, keepdims=True).repeat(10, 1), atol=1e-4)


def test_an_arc_between_right_angles_is_the_quarter_circle() -> None:
    walked = spherical_path(latents([2, 0]), latents([0, 2]), 3)
    np.testing.assert_allclose(walked[0, 1], [np.sqrt(2), np.sqrt(2)], rtol=1e-6)


@pytest.mark.parametrize(
    ("start", "goal", "middle"),
    [
        ([0, 0], [2, 2], [1, 1]),  # no direction at the start
        ([2, 2], [0, 0], [1, 1]),  # none at the end
        ([0, 0], [0, 0], [0, 0]),  # none at all
        ([1, 1], [3, 3], [2, 2]),  # parallel
        ([1, 2], [1, 2], [1, 2]),  # the same
    ],
)
def test_ends_that_span_no_arc_are_joined_by_the_line(
    start: list[float], goal: list[float], middle: list[float]
) -> None:
    walked = spherical_path(latents(start), latents(goal), 3)
    np.testing.assert_allclose(walked[0, 1], middle, rtol=1e-6)


def test_opposite_ends_are_joined_by_a_half_circle_always_the_same() -> None:
    start, goal = latents([3, 0, 0]), latents([-3, 0, 0])
    walked = spherical_path(start, goal, 5)
    np.testing.assert_allclose(np.linalg.norm(walked[0], axis=1), 3, rtol=1e-6)
    np.testing.assert_allclose(walked[0, 2], [0, 3, 0], atol=1e-6)
    np.testing.assert_array_equal(walked, spherical_path(start, goal, 5))


def test_opposite_ends_on_a_single_axis_are_joined_by_the_line() -> None:
    walked = spherical_path(latents([1]), latents([-1]), 3)
    np.testing.assert_allclose(walked[0, :, 0], [1, 0, -1], atol=1e-7)


def test_a_path_does_not_depend_on_other_rows() -> None:
    rng = np.random.default_rng(2)
    starts, goals = rng.normal(size=(2, 6, 4)).astype(np.float32)
    together = spherical_path(starts, goals, 5)
    for row in range(6):
        alone = spherical_path(starts[row : row + 1], goals[row : row + 1], 5)
        np.testing.assert_array_equal(together[row], alone[0])
