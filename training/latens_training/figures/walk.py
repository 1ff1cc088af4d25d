"""An animation of paths through the latent space."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from latens_training.figures import interpolations, paths, tiles
from latens_training.figures.subject import Subject

_SIDE = 3
_STOPS = 6
_FRAMES = 12
_TILE = 84
_FRAME_MS = 60


def draw(subject: Subject, path: Path, seed: int = 0) -> Path:
    """A GIF that loops for ever: nine walks, each through six test images along arcs and back."""
    walks = [_walk(subject, seed + index) for index in range(_SIDE * _SIDE)]
    decoded = tiles.to_pixels(subject.decode(np.concatenate(walks)))
    pixels = tiles.scaled(decoded, _TILE).reshape(len(walks), -1, *_tile_shape(decoded))
    frames = [tiles.sheet(pixels[:, step], _SIDE, gap=4) for step in range(pixels.shape[1])]
    return save_gif(frames, path, _FRAME_MS)


def save_gif(frames: list[NDArray[np.uint8]], path: Path, frame_ms: int) -> Path:
    """Writes frames [h, w, 1 or 3] as a GIF that loops."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [Image.fromarray(frame[..., 0] if frame.shape[-1] == 1 else frame) for frame in frames]
    images[0].save(
        path, save_all=True, append_images=images[1:], duration=frame_ms, loop=0, optimize=False
    )
    return path


def _tile_shape(decoded: NDArray[np.uint8]) -> tuple[int, ...]:
    return tiles.scaled(decoded[:1], _TILE).shape[1:]


def _walk(subject: Subject, seed: int) -> NDArray[np.float64]:
    """Latents [stops * frames, L] of a closed path; each step eased, so that it rests at a stop."""
    pairs = interpolations.pick_pairs(subject.labels, len(subject.images), _STOPS // 2, seed)
    stops = subject.means[np.ravel(pairs)]
    steps = np.linspace(0, 1, _FRAMES, endpoint=False)
    eased = steps * steps * (3 - 2 * steps)
    legs = [
        paths.spherical(stops[i], stops[(i + 1) % len(stops)], eased) for i in range(len(stops))
    ]
    return np.concatenate(legs)
