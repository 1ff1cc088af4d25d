"""A module of one's own, exported by the command, answers callers at mixed sizes as torch does."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from latens import Client
from latens_export.cli import main
from own_module import OWN
from server_process import running_server

if TYPE_CHECKING:
    from pathlib import Path

SIZES = ((64, 48), (32, 32), (4, 120))


@pytest.fixture(scope="module")
def own() -> Any:
    scope: dict[str, Any] = {"__name__": "own_of_the_test"}
    exec(OWN, scope)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return scope["Own"]().eval()


def test_mixed_sizes_get_their_own_answers(own: Any, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    save_file(own.state_dict(), tmp_path / "own.safetensors")
    arguments = ["module", f"{tmp_path}/own.py:Own", "--weights", f"{tmp_path}/own.safetensors"]
    assert main([*arguments, "--repository", f"{tmp_path}/models", "--opset", "20"]) == 0
    wrong: list[str] = []

    def calls(client: Client, size: tuple[int, int], seed: int) -> None:
        generator = np.random.default_rng(seed)
        for _ in range(5):
            pixels = generator.random((2, 3, *size), np.float32)
            with torch.inference_mode():
                mean, _ = own.encode(2 * torch.from_numpy(pixels) - 1)
                images = (own.decode(mean) / 2 + 0.5).numpy()
            found = client.encode(pixels, model="own")
            decoded = client.decode(found.mean, model="own").images
            if not np.allclose(found.mean, mean.numpy(), atol=2e-5):
                wrong.append(f"mean at {size}")
            if not np.allclose(decoded, images, atol=2e-5):
                wrong.append(f"images at {size}")

    with running_server(tmp_path / "models") as server, Client(server.address) as client:
        threads = [
            threading.Thread(target=calls, args=(client, size, seed))
            for seed, size in enumerate(SIZES * 2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []
