"""Where tests find pretrained autoencoders, and the networks that those belong to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def weights_of(name: str) -> Path:
    """A safetensors file; the test is skipped, and says so, where it is missing."""
    folder = os.environ.get("LATENS_TEST_WEIGHTS")
    path = (Path(folder) if folder else ROOT / "../shared/data/weights") / name
    if not path.is_file():
        pytest.skip(f"no pretrained weights {name}: set LATENS_TEST_WEIGHTS to their folder")
    return path


BURGESS = '''
"""The network of Burgess et al. (2018), as disentangling-vae trained it."""

import torch
from torch import nn


class Encoder(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 32, 4, 2, 1)
        self.conv2 = nn.Conv2d(32, 32, 4, 2, 1)
        self.conv3 = nn.Conv2d(32, 32, 4, 2, 1)
        self.conv_64 = nn.Conv2d(32, 32, 4, 2, 1)
        self.lin1, self.lin2 = nn.Linear(512, 256), nn.Linear(256, 256)
        self.mu_logvar_gen = nn.Linear(256, 20)

    def forward(self, x):
        for layer in (self.conv1, self.conv2, self.conv3, self.conv_64):
            x = torch.relu(layer(x))
        x = torch.relu(self.lin2(torch.relu(self.lin1(x.flatten(1)))))
        return self.mu_logvar_gen(x).view(-1, 10, 2).unbind(-1)


class Decoder(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.lin1, self.lin2 = nn.Linear(10, 256), nn.Linear(256, 256)
        self.lin3 = nn.Linear(256, 512)
        self.convT_64 = nn.ConvTranspose2d(32, 32, 4, 2, 1)
        self.convT1 = nn.ConvTranspose2d(32, 32, 4, 2, 1)
        self.convT2 = nn.ConvTranspose2d(32, 32, 4, 2, 1)
        self.convT3 = nn.ConvTranspose2d(32, channels, 4, 2, 1)

    def forward(self, z):
        for layer in (self.lin1, self.lin2, self.lin3):
            z = torch.relu(layer(z))
        z = z.view(-1, 32, 4, 4)
        for layer in (self.convT_64, self.convT1, self.convT2):
            z = torch.relu(layer(z))
        return torch.sigmoid(self.convT3(z))


class VAE(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.encoder, self.decoder = Encoder(channels), Decoder(channels)

    def encode(self, x):
        return self.encoder(x)

    def decode(self, z):
        return self.decoder(z)


def celeba():
    return VAE(3)


def dsprites():
    return VAE(1)
'''

TAEF2 = '''
"""FLUX.2's tiny autoencoder, after taesd (MIT)."""

import torch
from torch import nn


def conv(n_in, n_out, **more):
    return nn.Conv2d(n_in, n_out, 3, padding=1, **more)


class Clamp(nn.Module):
    def forward(self, x):
        return torch.tanh(x / 3) * 3


class Block(nn.Module):
    def __init__(self, n_in, n_out, pool=False):
        super().__init__()
        layers = [conv(n_in, n_out), nn.ReLU(), conv(n_out, n_out), nn.ReLU(), conv(n_out, n_out)]
        self.conv = nn.Sequential(*layers)
        self.skip = nn.Conv2d(n_in, n_out, 1, bias=False) if n_in != n_out else nn.Identity()
        self.pool = None
        if pool:
            self.pool = nn.Sequential(
                nn.Conv2d(n_in, 4 * n_in, 1, bias=False),
                nn.GroupNorm(4, 4 * n_in),
                nn.ReLU(),
                nn.Conv2d(4 * n_in, n_in, 1, bias=False),
            )

    def forward(self, x):
        if self.pool is not None:
            x = x + self.pool(x)
        return torch.relu(self.conv(x) + self.skip(x))


def down(pool):
    return [conv(64, 64, stride=2, bias=False), *(Block(64, 64, pool) for _ in range(3))]


def up(blocks):
    return [*blocks, nn.Upsample(scale_factor=2), conv(64, 64, bias=False)]


class TAEF2(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            conv(3, 64), Block(64, 64), *down(False), *down(False), *down(True), conv(64, 32)
        )
        self.decoder = nn.Sequential(
            Clamp(),
            conv(32, 64),
            nn.ReLU(),
            *up([Block(64, 64, True) for _ in range(3)]),
            *up([Block(64, 64) for _ in range(3)]),
            *up([Block(64, 64) for _ in range(3)]),
            Block(64, 64),
            conv(64, 3),
        )

    def encode(self, x):
        return self.encoder(x)

    def decode(self, z):
        return self.decoder(z)
'''
