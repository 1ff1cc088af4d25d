"""The networks by the name that `--model` takes.

A network of one's own is a class or function `(image_shape, *, options...)`. It returns an
encoder and a decoder: a pair of modules, or a module with the attributes `encoder` and `decoder`.

- The encoder takes images [n, c, h, w] in [0, 1] and returns the posterior's mean, or its mean
  and the logarithm of its variance, [n, *latent_shape].
- The decoder takes latents and returns what the likelihood needs, [n, channels, h, w]; for the
  Bernoulli and Gaussian likelihoods that is one logit per value of the image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from latens_training.registry import Registry

if TYPE_CHECKING:
    from torch import nn

    from latens_training.models.autoencoder import ImageShape

MODELS = Registry("model", shared=("latent_size", "hidden", "activation", "decoder_channels"))
DETERMINISTIC = frozenset({"ae-mlp", "vq-vae", "vq-vae-2"})
"""Our networks without a distribution over latents."""
WITH_CODEBOOK = frozenset({"vq-vae", "vq-vae-2"})
"""Our networks whose latents are replaced by vectors of a codebook."""

Channels = Annotated[int, Field(ge=1, le=4096)]
Width = Annotated[Channels, Field(description="channels at full size; each halving has more")]
Blocks = Annotated[int, Field(ge=1, le=16, description="residual blocks per size")]
CodebookSize = Annotated[int, Field(ge=2, le=1 << 16, description="vectors of the codebook (K)")]
VectorLength = Annotated[Channels, Field(description="length of each vector (D)")]
PixelsPerCode = Annotated[
    int, Field(ge=2, le=64, description="pixels of a side per code: 2, 4, 8, ...")
]


@MODELS.register("ae-mlp")
def _ae_mlp(
    image_shape: ImageShape,
    *,
    latent_size: int,
    hidden: tuple[int, ...],
    activation: str,
    decoder_channels: int,
    relu_code: Annotated[
        bool,
        Field(
            description="a ReLU on the code, as in the article's listing. It kills units: half of "
            "the seeds with two latent dimensions end with a constant picture"
        ),
    ] = False,
) -> tuple[nn.Module, nn.Module]:
    from latens_training.models.mlp import MlpDecoder, MlpEncoder

    encoder = MlpEncoder(
        image_shape, latent_size, hidden, activation, with_log_var=False, relu_code=relu_code
    )
    output = (decoder_channels, *image_shape[1:])
    return encoder, MlpDecoder(output, latent_size, hidden, activation)


@MODELS.register("vae-mlp")
def _vae_mlp(
    image_shape: ImageShape,
    *,
    latent_size: int,
    hidden: tuple[int, ...],
    activation: str,
    decoder_channels: int,
) -> tuple[nn.Module, nn.Module]:
    from latens_training.models.mlp import MlpDecoder, MlpEncoder

    encoder = MlpEncoder(image_shape, latent_size, hidden, activation, with_log_var=True)
    output = (decoder_channels, *image_shape[1:])
    return encoder, MlpDecoder(output, latent_size, hidden, activation)


@MODELS.register("vae-conv")
def _vae_conv(
    image_shape: ImageShape, *, latent_size: int, decoder_channels: int
) -> tuple[nn.Module, nn.Module]:
    from latens_training.models.article_conv import ConvDecoder, ConvEncoder

    output = (decoder_channels, *image_shape[1:])
    return ConvEncoder(image_shape, latent_size), ConvDecoder(output, latent_size)


@MODELS.register("conv")
def _conv(
    image_shape: ImageShape,
    *,
    latent_size: int,
    decoder_channels: int,
    width: Annotated[Channels, Field(description="channels of each convolution")] = 32,
) -> tuple[nn.Module, nn.Module]:
    from latens_training.models.conv import ConvDecoder, ConvEncoder

    output = (decoder_channels, *image_shape[1:])
    return ConvEncoder(image_shape, latent_size, width), ConvDecoder(output, latent_size, width)


@MODELS.register("resnet")
def _resnet(
    image_shape: ImageShape,
    *,
    decoder_channels: int,
    latent_channels: Annotated[
        Channels, Field(description="channels of the latent, which keeps rows and columns")
    ] = 4,
    downsampling: Annotated[
        int,
        Field(ge=2, le=64, description="pixels of a side per latent place: 2, 4, 8, ..."),
    ] = 8,
    width: Width = 32,
    blocks: Blocks = 1,
) -> tuple[nn.Module, nn.Module]:
    from latens_training.models.resnet import ResnetDecoder, ResnetEncoder, Shape

    shape = Shape.of(image_shape, latent_channels, downsampling, width, blocks)
    return ResnetEncoder(image_shape[0], shape), ResnetDecoder(decoder_channels, shape)


@MODELS.register("vq-vae")
def _vq_vae(
    image_shape: ImageShape,
    *,
    decoder_channels: int,
    codebook_size: CodebookSize = 512,
    latent_channels: VectorLength = 16,
    downsampling: PixelsPerCode = 4,
    width: Width = 32,
    blocks: Blocks = 1,
) -> tuple[nn.Module, nn.Module]:
    from latens_training.models.resnet import ResnetDecoder, ResnetEncoder, Shape
    from latens_training.models.vector_quantization import QuantizedDecoder, Quantizer

    shape = Shape.of(image_shape, latent_channels, downsampling, width, blocks)
    encoder = ResnetEncoder(image_shape[0], shape, with_log_var=False)
    quantizer = Quantizer(codebook_size, latent_channels)
    return encoder, QuantizedDecoder(quantizer, ResnetDecoder(decoder_channels, shape))


@MODELS.register("vq-vae-2")
def _vq_vae_2(
    image_shape: ImageShape,
    *,
    decoder_channels: int,
    codebook_size: CodebookSize = 512,
    latent_channels: VectorLength = 16,
    downsampling: Annotated[
        PixelsPerCode, Field(description="of the fine level; the coarse one has half as many codes")
    ] = 4,
    width: Width = 32,
    blocks: Blocks = 1,
) -> tuple[nn.Module, nn.Module]:
    from latens_training.models import two_levels
    from latens_training.models.resnet import Shape
    from latens_training.models.vector_quantization import QuantizedDecoder

    Shape.of(image_shape, latent_channels, 2 * downsampling, width, blocks)  # the coarse level's
    shape = Shape.of(image_shape, latent_channels, downsampling, width, blocks)
    _, height, columns = image_shape
    coarse, fine = (
        two_levels.Level(latent_channels, height // pixels, columns // pixels)
        for pixels in (2 * downsampling, downsampling)
    )
    quantizer = two_levels.TwoLevelQuantizer(codebook_size, coarse, fine)
    decoder = two_levels.TwoLevelDecoder(decoder_channels, shape, quantizer)
    encoder = two_levels.TwoLevelEncoder(image_shape[0], shape, quantizer)
    return encoder, QuantizedDecoder(quantizer, decoder)
