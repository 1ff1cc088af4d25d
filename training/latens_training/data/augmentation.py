"""Random changes of training images, by torchvision's transforms v2.

The test set and held-out images stay as they are. An augmentation of one's own is a function
`module:name` of the image's shape that returns a transform of one uint8 image [c, h, w].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from latens_training.registry import Registry

if TYPE_CHECKING:
    from latens_training.models.autoencoder import ImageShape

Transform = Callable[[Tensor], Tensor]
"""Of one image, uint8 [c, h, w]; random by torch's global generator."""

AUGMENTATIONS = Registry("augmentation")
_SHIFT, _ANGLE, _LEAST_AREA, _JITTER = 0.1, 15.0, 0.7, 0.2
_SEEDS = 2**62


@AUGMENTATIONS.register("flip")
def _flip(image_shape: ImageShape) -> Transform:
    """Left and right exchanged for half of the images."""
    from torchvision.transforms import v2

    return v2.RandomHorizontalFlip()  # type: ignore[no-any-return]


@AUGMENTATIONS.register("shift")
def _shift(image_shape: ImageShape) -> Transform:
    """Moved by up to a tenth of each side."""
    from torchvision.transforms import v2

    return v2.RandomAffine(0, translate=(_SHIFT, _SHIFT))  # type: ignore[no-any-return]


@AUGMENTATIONS.register("rotate")
def _rotate(image_shape: ImageShape) -> Transform:
    """Turned by up to 15 degrees."""
    from torchvision.transforms import v2

    return v2.RandomRotation(_ANGLE, v2.InterpolationMode.BILINEAR)  # type: ignore[no-any-return]


@AUGMENTATIONS.register("crop")
def _crop(image_shape: ImageShape) -> Transform:
    """A part of at least 0.7 of the area, enlarged to the whole."""
    from torchvision.transforms import v2

    return v2.RandomResizedCrop(  # type: ignore[no-any-return]
        image_shape[1:], scale=(_LEAST_AREA, 1.0), antialias=True
    )


@AUGMENTATIONS.register("colour")
def _colour(image_shape: ImageShape) -> Transform:
    """Brightness, contrast and saturation changed by up to a fifth."""
    from torchvision.transforms import v2

    return v2.ColorJitter(_JITTER, _JITTER, _JITTER)  # type: ignore[no-any-return]


def transforms_of(names: Sequence[str], image_shape: ImageShape) -> list[Transform]:
    """The transforms of these names, in their order.

    Raises:
        NotFoundError: there is none of a name.
    """
    return [AUGMENTATIONS.find(name).factory(image_shape) for name in names]


def augmented(
    images: Tensor, transforms: Sequence[Transform], generator: torch.Generator
) -> Tensor:
    """Each image changed on its own; uint8 [n, c, h, w].

    Args:
        images: uint8 [n, c, h, w].
        transforms: applied one after the other.
        generator: decides the random numbers, so that a resumed run draws the same ones.
    """
    drawn = torch.randint(_SEEDS, (1,), generator=generator, device=generator.device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(drawn))
        return torch.stack([_through(image, transforms) for image in images])


def _through(image: Tensor, transforms: Sequence[Transform]) -> Tensor:
    for transform in transforms:
        image = transform(image)
    return image
