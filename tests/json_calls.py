"""What the tests of codes and of items share: a server of given models, and calls of it."""

from __future__ import annotations

import json
from typing import Any
from urllib.request import Request, urlopen

import numpy as np
from numpy.typing import NDArray

from server_process import Server

TOLERANCE = 5e-5


def pixels(*shape: int) -> NDArray[np.float32]:
    """Values in [0, 1], always the same."""
    return np.random.default_rng(3).random(shape, np.float32)


def post(server: Server, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """The answer in JSON to numbers as JSON, by the HTTP port."""
    request = Request(
        f"http://{server.http_address}/v1/{path}",
        json.dumps(body).encode(),
        {"Content-Type": "application/json", "Accept": "application/json"},
    )
    with urlopen(request, timeout=60) as answer:
        found: dict[str, Any] = json.loads(answer.read())
    return found
