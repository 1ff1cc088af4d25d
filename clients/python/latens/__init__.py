"""Client of Latens, the latent space server.

    with latens.Client("127.0.0.1:50051") as client:
        images = client.sample(16, seed=7).images
        posterior = client.encode(images)

`Client` for threads, `AsyncClient` for asyncio, `errors` for what can go wrong.
"""

from __future__ import annotations

from latens.async_client import AsyncClient
from latens.channel import Tls
from latens.client import Client
from latens.errors import LatensError
from latens.health import Health
from latens.models import LatentUnit, Limits, Model
from latens.results import (
    Decoding,
    Encoding,
    Inpainting,
    Models,
    Paths,
    Reconstruction,
    Samples,
    Scores,
    Traversal,
)

__version__ = "0.1.0"

__all__ = [
    "AsyncClient",
    "Client",
    "Decoding",
    "Encoding",
    "Health",
    "Inpainting",
    "LatensError",
    "LatentUnit",
    "Limits",
    "Model",
    "Models",
    "Paths",
    "Reconstruction",
    "Samples",
    "Scores",
    "Tls",
    "Traversal",
]
