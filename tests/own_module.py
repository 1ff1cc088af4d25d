"""A module of one's own, as the text of the file that a stranger would write."""

from __future__ import annotations

OWN = """
import torch
from torch import nn

class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.into = nn.Conv2d(3, 8, 4, 4)
        self.out = nn.ConvTranspose2d(4, 3, 4, 4)

    def encode(self, x):
        return self.into(x).chunk(2, dim=1)

    def decode(self, z):
        return torch.tanh(self.out(z))
"""
