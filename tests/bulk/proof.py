"""Proves row-exactness at size: kills an encoding three times at random, and compares every row.

usage: python tests/bulk/proof.py BUNDLE [--images FILE.npz | --idx FILE.gz] [--seed 0]

Without images it encodes the 60,000 of MNIST's training set. Each run is killed with SIGKILL at a
random moment, the last one ends by itself. Then every row is compared with direct encoding, and one
more run must encode nothing. `make bulk-proof` runs it for MNIST, and for Fashion-MNIST where its
files are.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latens_bulk import LatentDataset
from latens_serving import Encoder

KILLS = 3
MOST_PARTS = 30
"""Of one run before it is killed."""
_IDX_HEADER = 16


def main() -> int:
    """Runs the proof; 0 if no row differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("bundle", type=Path, help="the folder of a bundle of 28 x 28 grey pixels")
    parser.add_argument("--images", type=Path, help="an .npz with uint8 `images`")
    parser.add_argument("--idx", type=Path, help="an IDX file of images, compressed by gzip")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of death (0)")
    options = parser.parse_args()
    images = _images(options)
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder, "set.npz"), Path(folder, "latents")
        np.savez(source, images=images)
        command = [sys.executable, "-m", "latens_bulk", "encode", str(source), str(output)]
        command += ["--bundle", str(options.bundle), "--shard-rows", "512", "--json"]
        kept = _killed(command, output, random.Random(options.seed))
        last, second = _summary(command), _summary(command)
        verified = subprocess.run(
            [sys.executable, "-m", "latens_bulk", "verify", str(output)],
            capture_output=True,
            check=False,
        )
        differing = _differing(output, images, options.bundle)
    print(
        f"{len(images)} rows, killed {KILLS} times with {kept} parts finished; the last run "
        f"encoded {last['encoded']} rows, another one {second['encoded']}; {differing} rows differ"
    )
    whole = last["rows"] == len(images) and verified.returncode == 0
    return 0 if whole and second["encoded"] == 0 and differing == 0 else 1


def _images(options: argparse.Namespace) -> NDArray[np.uint8]:
    if options.images:
        given: NDArray[np.uint8] = np.load(options.images)["images"]
        return given
    if options.idx:
        content = gzip.decompress(options.idx.read_bytes())
        return np.frombuffer(content, np.uint8, offset=_IDX_HEADER).reshape(-1, 1, 28, 28)
    from latens_training.data import datasets

    train = datasets.load("mnist").train
    pixels: NDArray[np.uint8] = (train.images.numpy() * 255).round().astype(np.uint8)
    return pixels


def _killed(command: list[str], output: Path, moments: random.Random) -> list[int]:
    """Starts and kills the runs; how many parts were finished at each death."""
    kept = []
    for _ in range(KILLS):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        death = _parts(output) + moments.randint(1, MOST_PARTS)
        while _parts(output) < death and process.poll() is None:
            time.sleep(moments.uniform(0, 0.002))
        process.send_signal(signal.SIGKILL)
        if process.wait() != -signal.SIGKILL:
            raise RuntimeError("the run ended before it was killed: give it more images")
        kept.append(_parts(output))
    return kept


def _parts(output: Path) -> int:
    return len(list(output.glob("part-*")))


def _summary(command: list[str]) -> dict[str, int]:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    summary: dict[str, int] = json.loads(done.stdout)
    return summary


def _differing(output: Path, images: NDArray[np.uint8], bundle: Path) -> int:
    dataset, direct = LatentDataset(output), Encoder(bundle, device="cpu")(images)
    wrong = np.zeros(len(images), bool)
    for name, expected in direct.items():
        wrong |= (np.asarray(dataset.array(name)) != expected).any(axis=1)
    keys = dataset.column("key")
    unique = len(set(keys)) == len(keys) == len(images)
    return int(wrong.sum()) if unique else len(images)


if __name__ == "__main__":
    sys.exit(main())
