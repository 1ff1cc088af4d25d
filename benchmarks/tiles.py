"""What tiles cost and change: whole images against tiles at 1024 pixels, and the memory of both.

Two autoencoders of diffusers with random weights: AutoencoderTiny, which is local, so
that its tiles are exact, and a small AutoencoderKL with GroupNorm and an attention, whose tiles are
blended. Each server runs in a process of its own, so that its memory can be told apart. Linux only.

    python benchmarks/tiles.py
    python benchmarks/tiles.py --size 512      smaller images
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latens import Client
from latens.errors import UnavailableError
from latens_serving.bundle.files import read_manifest, verified_graph
from latens_serving.engine.onnx import Device, EngineSettings, OnnxEngine
from latens_serving.models import tiles
from timing import markdown

_PORT = 50_471
_STRIDE = 8
_OVERLAPS = (0, 4, 8, 16)
_SEED = 15


def networks() -> dict[str, Any]:
    import torch
    from diffusers import AutoencoderKL, AutoencoderTiny

    torch.manual_seed(_SEED)
    widths = (32, 32, 32, 32)
    tiny: Any = AutoencoderTiny(
        encoder_block_out_channels=widths,
        decoder_block_out_channels=widths,
        num_encoder_blocks=(1, 2, 2, 2),
        num_decoder_blocks=(2, 2, 2, 1),
    )
    large: Any = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 32, 32),
        norm_num_groups=8,
    )
    return {"tiny": tiny.eval(), "kl": large.eval()}


def export(folder: Path) -> None:
    for name, network in networks().items():
        network.save_pretrained(folder / name)
        command = [sys.executable, "-m", "latens_export", "diffusers", str(folder / name)]
        target = ["--repository", f"{folder}/models", "--name", name, "--opset", "20"]
        subprocess.run([*command, *target], check=True, stdout=subprocess.DEVNULL)


@contextlib.contextmanager
def server(folder: Path, *flags: str) -> Iterator[tuple[Client, int]]:
    """A server on the exported models, and its process number."""
    arguments = ["--repository", f"{folder}/models", "--port", str(_PORT), "--http-port", "0"]
    quiet = ["--canary-seconds=0", "--drift-seconds=0", "--max-deadline=900", "--log-level=error"]
    large = [f"--max-message-bytes={1 << 28}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "latens_serving", *arguments, *quiet, *large, *flags],
        stdout=subprocess.DEVNULL,
    )
    try:
        with Client(f"127.0.0.1:{_PORT}", timeout=900, max_message_bytes=1 << 28) as client:
            _wait(client)
            yield client, process.pid
    finally:
        process.terminate()
        process.wait()


def _wait(client: Client) -> None:
    """Returns when the server has loaded both models."""
    while True:
        try:
            if {model.state for model in client.models().models} == {"READY"}:
                return
        except UnavailableError:
            time.sleep(0.2)


def memory_of(pid: int, name: str) -> float:
    """MiB, by a field of the process's status: VmRSS now, VmHWM at most."""
    status = Path(f"/proc/{pid}/status").read_text()
    (kib,) = re.findall(rf"{name}:\s+(\d+) kB", status)
    return float(kib) / 1024


def decoded(
    folder: Path, latents: NDArray[np.float32], model: str, *flags: str
) -> tuple[NDArray[np.float32], list[str]]:
    """The image, the seconds, and how far the server's memory rose."""
    with server(folder, *flags) as (client, pid):
        client.decode(latents[..., :16, :16], model=model)
        before = memory_of(pid, "VmRSS")
        begun = time.perf_counter()
        images = np.array(client.decode(latents, model=model).images)
        seconds = time.perf_counter() - begun
        return images, [f"{seconds:.1f}", f"{memory_of(pid, 'VmHWM') - before:.0f}"]


def differences(one: NDArray[np.float32], other: NDArray[np.float32]) -> list[str]:
    """The largest in grey levels, the mean in grey levels, and the PSNR in dB."""
    apart = 255 * np.abs(one.astype(np.float64) - other)
    noise = np.square(apart).mean()
    psnr = "equal" if not noise else f"{10 * np.log10(255**2 / noise):.1f}"
    return [f"{apart.max():.3g}", f"{apart.mean():.3g}", psnr]


def through_servers(
    folder: Path, latents: NDArray[np.float32], memory: int
) -> dict[str, list[str]]:
    """Both models, whole and in tiles."""
    rows = {}
    for model in ("tiny", "kl"):
        whole, cost = decoded(folder, latents, model)
        rows[f"{model}, whole"] = [*cost, "", "", ""]
        flags = (f"--tile-memory={memory}", "--tile-approximate")
        images, cost = decoded(folder, latents, model, *flags)
        kind = "exact" if model == "tiny" else "blended"
        rows[f"{model}, {kind} tiles"] = [*cost, *differences(images, whole)]
    return rows


def blends(folder: Path, latents: NDArray[np.float32], memory: int) -> dict[str, list[str]]:
    """The model that is not local in process, with overlaps of several latents."""
    bundle = folder / "models" / "kl" / "1"
    manifest = read_manifest(bundle)
    engine = OnnxEngine(verified_graph(bundle, manifest, "decoder"), EngineSettings(Device.CPU))

    async def run(part: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        return engine.run(part)

    (whole,) = engine.run(latents)
    rows = {}
    for overlap in _OVERLAPS:
        tiles.OVERLAP = overlap
        tiler = tiles.Tiler(manifest.spec, "decoder", tiles.TileLimits(memory, approximate=True))
        (images,) = asyncio.run(tiler.run(latents, run))
        rows[f"overlap {overlap}"] = differences(images, whole)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--size", type=int, default=1024, help="pixels of a side")
    parser.add_argument("--memory", type=int, default=64 << 20, help="bytes of one pass")
    given = parser.parse_args()
    cells = given.size // _STRIDE
    latents = np.random.default_rng(0).standard_normal((1, 4, cells, cells)).astype(np.float32)
    apart = ["largest", "mean (grey levels)", "PSNR dB"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export(folder)
        costs = through_servers(folder, latents, given.memory)
        print(markdown("decoder", ["seconds", "memory MiB", *apart], costs))
        print()
        print(markdown("kl, blended", apart, blends(folder, latents, 4 * given.memory)))


if __name__ == "__main__":
    main()
