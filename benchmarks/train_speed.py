"""Compares the training speed with other programs: same network, batch and images, in turns.

    python benchmarks/train_speed.py                        # every arm that can run here
    python benchmarks/train_speed.py --arms latens,example  # some of them

Each arm is a process that trains the article's VAE (784-400-20-400-784, batch 128, Adam 1e-3) on
MNIST. The arms take turns, so that noise affects all of them equally. They are in
`train_speed_arms.py`. The peer pythae 0.1.2 has its own environment, made under --peers at the
first use; it uses the torch of this environment, so that both have the same build.
"""

from __future__ import annotations

import argparse
import json
import os
import site
import statistics
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ARMS = {
    "latens": "latens-train",
    "latens-autograd": "latens-train with autograd's gradients",
    "latens-bfloat16": "latens-train --precision bfloat16",
    "latens-compile": "latens-train --compile default",
    "example": "pytorch/examples vae (DataLoader, probabilities, .item() each step)",
    "pythae": "pythae 0.1.2, in-memory data set",
    "bound": "only the matrix products, float32, as torch computes them",
    "bound-onednn": "only the matrix products, float32, as latens-train computes them",
}
PYTHAE = "pythae==0.1.2"


@dataclass
class Arm:
    """A process that trains on request."""

    name: str
    process: subprocess.Popen[str]

    def turn(self) -> float:
        """Trains on the configured number of images; returns images per second."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return float(self.answer())

    def answer(self) -> str:
        """The next line of the arm's output that is an answer."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("arm: "):
                return line.removeprefix("arm: ").strip()
        raise SystemExit(f"{self.name} ended: see above")


def main() -> None:
    options = parse()
    arms = [start(name, options) for name in options.arms.split(",")]
    try:
        for arm in arms:
            arm.answer()
        turns: dict[str, list[float]] = {arm.name: [] for arm in arms}
        for number in range(options.rounds):
            for arm in arms:
                turns[arm.name].append(arm.turn())
                print(f"round {number + 1}: {arm.name} {turns[arm.name][-1]:,.0f}", file=sys.stderr)
    finally:
        for arm in arms:
            arm.process.terminate()
            arm.process.wait()
    print(json.dumps(turns) if options.json else table(turns))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arms", default=",".join(ARMS), help="comma-separated: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each arm (%(default)s)")
    parser.add_argument("--images", type=int, default=20_000, help="a turn (%(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="of torch (%(default)s)")
    parser.add_argument(
        "--clock",
        choices=["wall", "cpu"],
        default="wall",
        help="cpu: measure CPU time, for a machine with other work (with --threads 1)",
    )
    parser.add_argument("--peers", type=Path, default=Path("build/peers"), help="their environment")
    parser.add_argument("--json", action="store_true", help="all turns as JSON")
    return parser.parse_args()


def start(name: str, options: argparse.Namespace) -> Arm:
    python = peer_python(options.peers) if name == "pythae" else Path(sys.executable)
    arguments = [name, str(options.images), str(options.threads), options.clock]
    process = subprocess.Popen(
        [str(python), str(HERE / "train_speed_arms.py"), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(HERE.parent)},
    )
    return Arm(name, process)


def peer_python(folder: Path) -> Path:
    """The interpreter of pythae's environment, which is made if it does not exist."""
    python = folder / "pythae" / "bin" / "python"
    if not python.exists():
        venv.create(folder / "pythae", with_pip=True)
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        packages = folder / "pythae" / "lib" / version / "site-packages"
        (packages / "zz_torch.pth").write_text(site.getsitepackages()[0] + "\n")
        subprocess.run([python, "-m", "pip", "install", "--quiet", PYTHAE], check=True)
    return python


def table(turns: dict[str, list[float]]) -> str:
    """The best and the median turn of each arm, and the ratios of the best ones."""
    best = {name: max(values) for name, values in turns.items()}
    lines = ["| arm | best images/s | median | s per epoch |", "|---|---|---|---|"]
    for name, values in turns.items():
        middle, epoch = statistics.median(values), 60_000 / best[name]
        lines.append(f"| {ARMS[name]} | {best[name]:,.0f} | {middle:,.0f} | {epoch:.2f} |")
    if "latens" in best:
        peers = [name for name in ("example", "pythae", "bound", "bound-onednn") if name in best]
        ratios = [f"{best['latens'] / best[peer]:.2f} x {peer}" for peer in peers]
        lines.append(f"\nlatens-train is {', '.join(ratios)}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
