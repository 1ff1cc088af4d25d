"""Devices, processes and precision."""

from __future__ import annotations

import os
import platform
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from latens_training.errors import UsageError
from latens_training.optimization.onednn_matmul import by_onednn
from latens_training.runs.directory import Interrupted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from latens_training.config import DeviceConfig


@dataclass(frozen=True)
class Placement:
    """The device of this process, and its rank among the processes of the run."""

    device: torch.device
    rank: int = 0
    world_size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and reports."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """This process's part of a global batch of `count` images."""
        return slice(
            self.rank * count // self.world_size, (self.rank + 1) * count // self.world_size
        )


@contextmanager
def placed(config: DeviceConfig) -> Iterator[Placement]:
    """Chooses the device; under torchrun, joins the processes of the run.

    Raises:
        UsageError: the device does not exist.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        yield Placement(choose_device(config.device))
        return
    device = choose_device(config.device, int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Placement(device, dist.get_rank(), world_size)
        dist.barrier()  # a process that closes its connections early can abort the others
    except Interrupted:
        dist.barrier()
        raise
    finally:
        dist.destroy_process_group()


def leave(exit_code: int) -> int:
    """Ends a process of several at once; returns the exit code where there is only one.

    The threads of a process group can outlive the objects that own them. When the interpreter then
    takes itself apart, the C++ library aborts now and then, and torchrun reports a failed run.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_code)
    return exit_code


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """The torch device of a setting; `auto` prefers an accelerator.

    Raises:
        UsageError: the device does not exist.
    """
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        name = "cuda" if cuda else "mps" if mps else "cpu"
    if (name.startswith("cuda") and not cuda) or (name == "mps" and not mps):
        raise UsageError(f"device: torch finds no {name} device")
    device = torch.device(name)
    return device if device.type != "cuda" else _choose_gpu(device, local_rank)


def _choose_gpu(device: torch.device, local_rank: int) -> torch.device:
    index = int(str(device).partition(":")[2] or local_rank)
    if index >= torch.cuda.device_count():
        raise UsageError(f"device: no GPU {index}; there are {torch.cuda.device_count()}")
    torch.cuda.set_device(index)
    return torch.device("cuda", index)


def set_precision(device: torch.device, config: DeviceConfig) -> None:
    """Sets what CUDA's float32 products and convolutions may round, and makes them repeatable."""
    if device.type != "cuda":
        return
    rounded = config.precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = rounded
    torch.backends.cudnn.allow_tf32 = rounded
    torch.backends.cudnn.deterministic = True


def autocast(device: torch.device, config: DeviceConfig) -> torch.autocast:
    """The context of the network's forward pass."""
    return torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16")


def slow_precision(device: torch.device, config: DeviceConfig) -> str | None:
    """A warning if the precision is emulated on this device."""
    if config.precision != "bfloat16" or device.type != "cpu":
        return None
    capabilities = torch.cpu.get_capabilities()
    if capabilities.get("architecture") != "x86_64":
        return None  # not measured
    if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"):
        return None
    return (
        "precision: this processor has no bfloat16 arithmetic; a step was measured to take eleven "
        "times as long as with --precision float32"
    )


def describe_environment(placement: Placement) -> dict[str, Any]:
    """What decides whether a rerun of the same settings is bit-equal."""
    device = placement.device
    named = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "device": device.type,
        "device_name": named,
        "threads": torch.get_num_threads(),
        "float32_products": "onednn" if by_onednn(device) else "torch's choice",
        "world_size": placement.world_size,
    }
