"""The article's convolutional encoder and decoder.

They take 28 x 28 images of any number of channels: the kernels and strides (28-13-5-2 down,
1-4-12-28 up) give that size and no other.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from latens_training.errors import UsageError

SIDE = 28
_FEATURES = 128 * 2 * 2
_SEED_CHANNELS = 1024


class ConvEncoder(nn.Module):
    """Three strided convolutions, then the mean and log-variance heads."""

    def __init__(self, image_shape: tuple[int, int, int], latent_size: int) -> None:
        super().__init__()
        _require_side(image_shape)
        self.body = nn.Sequential(
            nn.Conv2d(image_shape[0], 32, 4, stride=2),
            nn.ReLU(),
            nn.Conv2d(32, 64, 4, stride=2),
            nn.ReLU(),
            nn.Conv2d(64, 128, 3, stride=2),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.mean = nn.Linear(_FEATURES, latent_size)
        self.log_var = nn.Linear(_FEATURES, latent_size)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Images [n, c, 28, 28] in [0, 1] to mean and log-variance [n, latent_size]."""
        features = self.body(images)
        return self.mean(features), self.log_var(features)


class PixelConvTranspose2d(nn.ConvTranspose2d):
    """A transposed convolution of a 1 x 1 input, computed as the matrix product that it is.

    Its parameters are those of `ConvTranspose2d`, so weights carry over in both directions; only
    the arithmetic differs, exactly equal in real numbers and 1.7 times faster on a CPU.
    """

    def forward(self, inputs: Tensor, output_size: list[int] | None = None) -> Tensor:
        """[n, channels, 1, 1] to [n, out_channels, kernel, kernel]."""
        assert output_size is None
        height, width = self.kernel_size
        weight = self.weight.flatten(1).t()
        bias = None if self.bias is None else self.bias.repeat_interleave(height * width)
        product = functional.linear(inputs.flatten(1), weight, bias)
        return product.view(-1, self.out_channels, height, width)


class ConvDecoder(nn.Module):
    """A linear layer, then three transposed convolutions to the likelihood's values."""

    def __init__(self, output_shape: tuple[int, int, int], latent_size: int) -> None:
        super().__init__()
        _require_side(output_shape)
        self.seed = nn.Linear(latent_size, _SEED_CHANNELS)
        self.body = nn.Sequential(
            nn.ReLU(),
            nn.Unflatten(1, (_SEED_CHANNELS, 1, 1)),
            PixelConvTranspose2d(_SEED_CHANNELS, 256, 4, stride=2),
            nn.ReLU(),
            nn.ConvTranspose2d(256, 128, 6, stride=2),
            nn.ReLU(),
            nn.ConvTranspose2d(128, output_shape[0], 6, stride=2),
        )

    def forward(self, latents: Tensor) -> Tensor:
        """Latents [n, latent_size] to [n, channels, 28, 28]."""
        logits: Tensor = self.body(self.seed(latents))
        return logits


def _require_side(image_shape: tuple[int, int, int]) -> None:
    _, height, width = image_shape
    if (height, width) != (SIDE, SIDE):
        raise UsageError(
            f"model: vae-conv takes {SIDE} x {SIDE} images, these are {height} x {width}; "
            "use conv or vae-mlp, or resize the images"
        )
