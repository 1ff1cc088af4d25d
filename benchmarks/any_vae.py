"""A large autoencoder: through the server, in process, and in torch, in turns in one run.

The model is diffusers' AutoencoderKL in the size of Stable Diffusion 1.5 with random weights, which
is exported first (minutes). Each cell is one image per call. The in-process engine and torch run in
processes of their own, so that their memory can be told apart; all have the same number of threads,
and while one works the others wait. Linux only.

    python benchmarks/any_vae.py
    python benchmarks/any_vae.py --short      a small network, within two minutes
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import multiprocessing
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from latens import Client
from latens.errors import OverloadedError
from timing import markdown

_PORT = 50_461
_ROUNDS = 3
_WIDTHS = {False: (128, 256, 512, 512), True: (16, 32, 32, 32)}
_SIZES = {False: (256, 512), True: (64, 128)}
_CONCURRENT = 32
_DEADLINE = 900
_SEED = 15


def network(*, short: bool) -> Any:
    """The autoencoder, with weights drawn by a fixed seed."""
    import torch
    from diffusers import AutoencoderKL

    torch.manual_seed(_SEED)
    widths = _WIDTHS[short]
    model: Any = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=widths,
        layers_per_block=2,
        latent_channels=4,
        norm_num_groups=min(32, widths[0]),
    )
    return model.eval()


def inputs(size: int) -> dict[str, np.ndarray]:
    """One image and one latent of a size in pixels."""
    generator = np.random.default_rng(_SEED)
    return {
        "encode": generator.random((1, 3, size, size), np.float32),
        "decode": generator.standard_normal((1, 4, size // 8, size // 8)).astype(np.float32),
    }


def engine(bundle: Path, threads: int, short: bool) -> dict[str, Callable[[np.ndarray], object]]:
    """The calls of the engine in process."""
    del short
    from latens_serving import Decoder, Encoder

    return {
        "encode": Encoder(str(bundle), device="cpu", threads=threads, batch_rows=1),
        "decode": Decoder(str(bundle), device="cpu", threads=threads, batch_rows=1),
    }


def eager(bundle: Path, threads: int, short: bool) -> dict[str, Callable[[np.ndarray], object]]:
    """The calls of torch."""
    del bundle
    import torch

    torch.set_num_threads(threads)
    model = network(short=short)

    @torch.inference_mode()
    def encode(pixels: np.ndarray) -> object:
        return model.encode(2 * torch.from_numpy(pixels) - 1).latent_dist.mean * 0.18215

    @torch.inference_mode()
    def decode(latents: np.ndarray) -> object:
        return model.decode(torch.from_numpy(latents) / 0.18215).sample / 2 + 0.5

    return {"encode": encode, "decode": decode}


def work(pipe: Connection, make: Any, bundle: Path, threads: int, short: bool) -> None:
    """A process that times calls: receives their name and size, sends seconds."""
    calls = make(bundle, threads, short)
    pipe.send(None)
    while (task := pipe.recv()) is not None:
        name, size = task
        values = inputs(size)[name]
        begun = time.perf_counter()
        calls[name](values)
        pipe.send(time.perf_counter() - begun)


class Process:
    """Something to time in a process of its own."""

    def __init__(self, make: Any, bundle: Path, threads: int, *, short: bool) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=work, args=(theirs, make, bundle, threads, short), daemon=True
        )
        self._process.start()
        self._pipe.recv()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def seconds(self, name: str, size: int) -> float:
        """Of one call."""
        self._pipe.send((name, size))
        return float(self._pipe.recv())

    def end(self) -> None:
        self._pipe.send(None)
        self._process.join()


class Served:
    """The server, in its own process."""

    def __init__(self, repository: Path, threads: int) -> None:
        begun = time.perf_counter()
        command = [sys.executable, "-m", "latens_serving", f"--repository={repository}"]
        command += [f"--port={_PORT}", "--http-port=0", f"--threads={threads}"]
        command += [f"--max-deadline={_DEADLINE}"]  # many calls that take seconds wait in a queue
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.client = Client(f"127.0.0.1:{_PORT}", timeout=_DEADLINE)
        while not self._is_ready():
            time.sleep(0.1)
        self.start_seconds = time.perf_counter() - begun
        self.pid = self._process.pid

    def _is_ready(self) -> bool:
        assert self._process.poll() is None, "the server ended"
        with contextlib.suppress(Exception):
            return bool(self.client.model("vae"))
        return False

    def call(self, name: str, values: np.ndarray) -> object:
        if name == "encode":
            return self.client.encode(values, model="vae")
        return self.client.decode(values, model="vae")

    def seconds(self, name: str, size: int) -> float:
        """Of one call, the client's part included."""
        values = inputs(size)[name]
        begun = time.perf_counter()
        self.call(name, values)
        return time.perf_counter() - begun

    def end(self) -> None:
        self.client.close()
        self._process.terminate()
        self._process.wait()


def peak_mebibytes(pid: int) -> float:
    """The largest resident memory of a process so far."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


@contextlib.contextmanager
def bundled(*, short: bool) -> Iterator[Path]:
    """The repository of the exported model."""
    with tempfile.TemporaryDirectory() as folder:
        network(short=short).save_pretrained(Path(folder) / "weights")
        command = [sys.executable, "-m", "latens_export", "diffusers", f"{folder}/weights"]
        command += ["--repository", f"{folder}/models", "--name", "vae"]
        begun = time.perf_counter()
        subprocess.run(command, check=True, stdout=sys.stderr)
        print(f"exported in {time.perf_counter() - begun:.0f} s", file=sys.stderr, flush=True)
        yield Path(folder) / "models"


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--short", action="store_true", help="a small network")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of each")
    parser.add_argument("--rounds", type=int, default=_ROUNDS)
    parser.add_argument("--sizes", type=int, nargs="+", help="pixels of a side; default: 256 512")
    options = parser.parse_args()
    sizes = tuple(options.sizes or _SIZES[options.short])
    with bundled(short=options.short) as repository:
        served = Served(repository, options.threads)
        arms: dict[str, Any] = {"server": served}
        try:
            for name, make in (("in process", engine), ("torch", eager)):
                arms[name] = Process(make, repository / "vae", options.threads, short=options.short)
            _table(arms, sizes, options.rounds)
            print(f"\nThe server was ready after {served.start_seconds:.1f} s.")
            _concurrent(served, sizes[0])
        finally:
            for arm in arms.values():
                arm.end()


def _table(arms: dict[str, Any], sizes: tuple[int, ...], rounds: int) -> None:
    cells: dict[str, list[str]] = {}
    for size in sizes:
        for name in ("encode", "decode"):
            times: dict[str, list[float]] = {arm: [] for arm in arms}
            for arm, timed in arms.items():
                timed.seconds(name, size)  # the first call of a size allocates
                print(f"{name} {size}: {arm}", file=sys.stderr, flush=True)
            for _ in range(rounds):
                for arm, timed in arms.items():
                    times[arm].append(timed.seconds(name, size))
            medians = {arm: statistics.median(values) for arm, values in times.items()}
            row = [f"{1000 * medians[arm]:.0f}" for arm in arms]
            ratio = medians["server"] / medians["in process"]
            cells[f"{name} {size} x {size}"] = [*row, f"{ratio:.3f}"]
    peaks = [f"{peak_mebibytes(timed.pid):.0f}" for timed in arms.values()]
    cells["peak memory, MiB"] = [*peaks, ""]
    heads = [*(f"{arm}, ms" for arm in arms), "server / in process"]
    print(markdown("one image per call", heads, cells))


def _concurrent(served: Served, size: int) -> None:
    """Many decodes at once: each is answered or refused at once, and memory stays bounded."""
    latents = inputs(size)["decode"]

    def decoded(_: int) -> bool:
        try:
            served.call("decode", latents)
        except OverloadedError:
            return False
        return True

    begun = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(_CONCURRENT) as pool:
        answers = list(pool.map(decoded, range(_CONCURRENT)))
    print(
        f"{_CONCURRENT} concurrent decodes of {size} x {size}: {sum(answers)} answered, the others "
        f"refused by a full queue, in {time.perf_counter() - begun:.1f} s; "
        f"peak memory {peak_mebibytes(served.pid):.0f} MiB."
    )


if __name__ == "__main__":
    main()
