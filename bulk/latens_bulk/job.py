"""What one run of `latens-bulk encode` does, and how its output describes itself."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from latens_bulk.encoders import RowEncoder
from latens_bulk.errors import UsageError
from latens_bulk.inputs.shards import Selection, Shard
from latens_bulk.outputs.folder import OutputFolder
from latens_bulk.outputs.formats import FORMATS
from latens_bulk.outputs.rows import MIRRORED
from latens_bulk.preprocessing import Preprocessing

_FORMAT_VERSION = 1


@dataclass(frozen=True)
class Job:
    """The input, the encoder, the output and the rules between them."""

    kind: str
    """Of the input."""
    shards: Sequence[Shard]
    encoder: RowEncoder
    preprocessing: Preprocessing
    output: OutputFolder
    selection: Selection = field(default_factory=Selection)
    format: str = "parquet"
    dtype: Literal["float32", "float16"] = "float32"
    mirror: bool = False
    draws: int = 0
    seed: int = 0
    skips_errors: bool = False
    decoders: int = 0
    """Processes that decode pictures; 0 to decode in this one."""
    part: tuple[int, int] = (0, 1)
    """i and n: only shards whose number is i modulo n."""

    def __post_init__(self) -> None:
        if self.draws and "log_var" not in self.encoder.identity.heads:
            raise UsageError(
                f"--draws: {self.encoder.identity.name} is deterministic, and has no variance"
            )

    @property
    def suffix(self) -> str:
        return FORMATS[self.format].suffix

    @property
    def variants(self) -> tuple[str, ...]:
        """The suffixes of names: of the image as it is, and of the mirrored one."""
        return ("", MIRRORED) if self.mirror else ("",)

    def indices(self) -> list[int]:
        """The shards that this run is for."""
        i, n = self.part
        return [index for index in range(len(self.shards)) if index % n == i]

    def description(self) -> dict[str, Any]:
        """Everything that the rows of an output depend on."""
        listing = hashlib.sha256()
        for shard in self.shards:
            listing.update(f"{shard.name} {shard.rows}\n".encode())
        heads = ("draws",) if self.draws else self.encoder.identity.heads
        return {
            "format_version": _FORMAT_VERSION,
            "model": self.encoder.identity.record(),
            "preprocessing": self.preprocessing.record() | {"mirror": self.mirror},
            "draws": {"count": self.draws, "seed": self.seed} if self.draws else None,
            "format": self.format,
            "dtype": self.dtype,
            "latents": [head + suffix for suffix in self.variants for head in heads],
            "input": {
                "kind": self.kind,
                "shards": len(self.shards),
                "listing": listing.hexdigest(),
                "image": self.selection.image,
                "key": self.selection.key,
                "keep": list(self.selection.keep),
            },
        }
