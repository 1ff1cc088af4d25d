"""A spec names the sizes that a model takes, and every refusal says which would do."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from latens_serving.bundle.spec import Axis, LatentAxis, ModelSpec, SpecError

SIZES = "a multiple of 8 from 64 to 1024"


def free(name: str, **bounds: int) -> Axis:
    return Axis(
        name=name, **{"multiple": 8, "minimum": 64, "maximum": 1024, "usual": 512, **bounds}
    )


def spec(**changes: Any) -> ModelSpec:
    facts: dict[str, Any] = {
        "data_axes": (Axis(name="channels", size=3), free("height"), free("width", usual=256)),
        "latent_axes": (
            LatentAxis(name="channels", size=4),
            LatentAxis(name="height", of="height", stride=8),
            LatentAxis(name="width", of="width", stride=8),
        ),
        "posterior": "diagonal-gaussian",
        "tolerance": 1e-4,
    }
    return ModelSpec(**(facts | changes))


def test_latent_and_data_shapes_follow_from_each_other() -> None:
    model = spec()
    assert model.is_free
    assert model.usual_data_shape == (3, 512, 256)
    assert model.usual_latent_shape == (4, 64, 32)
    assert model.latent_shape_of((3, 64, 1024)) == (4, 8, 128)
    assert model.data_shape_of((4, 8, 128)) == (3, 64, 1024)
    assert model.data_shape == (3, None, None)
    assert model.largest_row_bytes == 4 * (3 * 1024**2 + 2 * 4 * 128**2)
    assert model.row_bytes((3, 64, 64)) == 4 * (3 * 64**2 + 2 * 4 * 8**2)


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        (
            (3, 500, 512),
            f"height: expected {SIZES}, got 500; the nearest allowed size is 504",
        ),
        (
            (3, 512, 8),
            f"width: expected {SIZES}, got 8; the nearest allowed size is 64",
        ),
        (
            (3, 4096, 512),
            f"height: expected {SIZES}, got 4096; the nearest allowed size is 1024",
        ),
        ((1, 512, 512), "channels: expected 3, got 1"),
        ((512, 512), r"expected images of shape \[3, height, width\], got \[512, 512\]"),
    ],
)
def test_a_refusal_names_the_axis_the_multiple_the_bounds_and_the_nearest_size(
    shape: tuple[int, ...], said: str
) -> None:
    with pytest.raises(SpecError, match=f"^{said}$"):
        spec().check_data_shape(shape)


def test_latents_are_refused_in_their_own_sizes() -> None:
    model = spec(
        data_axes=(Axis(name="channels", size=3), free("height", multiple=32), free("width"))
    )
    said = "height: expected a multiple of 4 from 8 to 128, got 9; the nearest allowed size is 8"
    with pytest.raises(SpecError, match=f"^{said}$"):
        model.data_shape_of((4, 9, 64))


@pytest.mark.parametrize("size", [1, 63, 64, 67, 68, 500, 1020, 1021, 1 << 40])
def test_the_nearest_size_is_allowed_and_no_other_is_nearer(size: int) -> None:
    axis = free("height")
    nearest = axis.nearest(size)
    axis.check(nearest)
    assert abs(nearest - size) == min(abs(other - size) for other in range(64, 1025, 8))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"latent_axes": (LatentAxis(name="z", size=4),)}, "a free axis must have a latent axis"),
        (
            {"latent_axes": (LatentAxis(name="z", of="depth"),)},
            "expected `of` to name a free data axis, got depth",
        ),
        (
            {
                "latent_axes": (
                    LatentAxis(name="height", of="height", stride=16),
                    LatentAxis(name="width", of="width", stride=8),
                )
            },
            "expected a stride that divides the multiple of height, 8, got 16",
        ),
        (
            {
                "data_axes": (Axis(name="features", size=3),),
                "latent_axes": (LatentAxis(name="z", size=2),),
            },
            "expected channels, height, width",
        ),
        ({"data_range": (-1, 1)}, "values from 0 to 1"),
        ({"tolerance": 0.5}, "may state at most 0.01"),
        ({"attributes": {"bold": (1.0,)}}, "expected a latent of fixed shape"),
        ({"codebook_size": 512}, "codes have a deterministic posterior"),
    ],
)
def test_a_spec_that_contradicts_itself_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        spec(**changes)


@pytest.mark.parametrize(
    "bounds", [{"usual": 2048}, {"minimum": 60}, {"maximum": 1023}, {"size": 512}]
)
def test_bounds_are_multiples_in_order(bounds: dict[str, int]) -> None:
    with pytest.raises(ValidationError, match="expected"):
        free("height", **bounds)


def test_other_modalities_need_no_range() -> None:
    model = spec(
        modality="audio",
        data_axes=(Axis(name="channels", size=2), free("time")),
        data_range=None,
        latent_axes=(
            LatentAxis(name="channels", size=64),
            LatentAxis(name="time", of="time", stride=4),
        ),
    )
    assert model.latent_shape_of((2, 64)) == (64, 16)
    with pytest.raises(SpecError, match="expected items of shape"):
        model.check_data_shape((2, 64, 1))
