"""Small autoencoders of diffusers with random weights."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

diffusers = pytest.importorskip("diffusers")


def autoencoder_kl(**more: Any) -> nn.Module:
    config = {
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "block_out_channels": (8, 16),
        "norm_num_groups": 4,
        **more,
    }
    model: nn.Module = diffusers.AutoencoderKL(**config)
    return model


def autoencoder_tiny() -> nn.Module:
    widths = (8, 8, 8, 8)
    model: nn.Module = diffusers.AutoencoderTiny(
        encoder_block_out_channels=widths,
        decoder_block_out_channels=widths,
        num_encoder_blocks=(1, 1, 1, 1),
        num_decoder_blocks=(1, 1, 1, 1),
    )
    return model


def autoencoder_dc() -> nn.Module:
    blocks = ("ResBlock", "ResBlock", "EfficientViTBlock")
    config: dict[str, Any] = {
        "attention_head_dim": 8,
        "latent_channels": 8,
        "in_channels": 3,
        "scaling_factor": 0.41407,
    }
    for part in ("encoder", "decoder"):
        config |= {
            f"{part}_block_types": blocks,
            f"{part}_block_out_channels": (8, 16, 16),
            f"{part}_layers_per_block": (1, 1, 1),
            f"{part}_qkv_multiscales": ((), (), (5,)),
        }
    model: nn.Module = diffusers.AutoencoderDC(
        upsample_block_type="interpolate", downsample_block_type="stride_conv", **config
    )
    return model


def vq_model() -> nn.Module:
    model: nn.Module = diffusers.VQModel(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        num_vq_embeddings=16,
    )
    return model


def autoencoder_oobleck() -> nn.Module:
    """An autoencoder of sound: two channels, 8 samples to a latent."""
    with warnings.catch_warnings():  # diffusers has the old form of weight_norm
        warnings.simplefilter("ignore", FutureWarning)
        model: nn.Module = diffusers.AutoencoderOobleck(
            encoder_hidden_size=8,
            downsampling_ratios=[2, 4],
            channel_multiples=[1, 2],
            decoder_channels=8,
            decoder_input_channels=4,
            audio_channels=2,
        )
    return model


def saved(model: nn.Module, folder: Path) -> Path:
    model.save_pretrained(folder)  # type: ignore[operator]  # a method of diffusers' models
    return folder


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make().eval()
