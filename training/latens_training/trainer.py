"""Trains epoch by epoch: the network, its optimiser, and two streams of random numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from latens_training.data.binarization import draw_binary
from latens_training.devices import Placement, autocast
from latens_training.models.autoencoder import ForwardOutput
from latens_training.objectives.registry import OBJECTIVES
from latens_training.onednn_matmul import onednn_matmul
from latens_training.schedules import learning_rate

if TYPE_CHECKING:
    from collections.abc import Callable

    from latens_training.config import RunConfig
    from latens_training.data.types import Images
    from latens_training.models.autoencoder import Autoencoder

_STEPS_BETWEEN_AGREEMENTS = 16
_TERMS = ("loss", "reconstruction", "kl")
"""The terms that a run records, as every objective names them."""
_ADAM_BETA2 = 0.999


@dataclass
class Progress:
    """The progress of a run, which resuming needs beside weights, moments and generators."""

    epoch: int = 0
    """Whole epochs done."""
    step: int = 0
    """Steps done in the current epoch."""
    totals: Tensor = field(default_factory=lambda: torch.zeros(len(_TERMS), dtype=torch.float64))
    """Sums over the images of the current epoch: loss, reconstruction, KL; nats."""
    seconds: float = 0.0
    """Seconds that the current epoch has taken."""


class Trainer:
    """Trains a network on images that stay on its device.

    Batches are global: under torchrun each process takes its slice of the same order and the same
    noise, and gradients are summed over the global batch and divided by its size. So the objective,
    beta included, does not depend on the number of processes.
    """

    def __init__(
        self, model: Autoencoder, images: Images, config: RunConfig, placement: Placement
    ) -> None:
        device = placement.device
        self.model = model.to(device)
        self.images = images.to(device)
        self.config = config
        self.placement = placement
        self.optimizer = self._adam()
        self.order = torch.Generator(device).manual_seed(config.train.seed)
        self.noise = torch.Generator(device).manual_seed(config.train.seed + 1)
        self.order_at_epoch_start = self.order.get_state()
        self.progress = Progress()
        self.network = self._network()

    @property
    def steps(self) -> int:
        """Steps per epoch; the last batch may be smaller."""
        return -(-len(self.images) // self.config.train.batch_size)

    @property
    def learning_rate(self) -> float:
        """The learning rate of the current epoch."""
        return learning_rate(self.config.train, self.progress.epoch)

    def run_epoch(self, stop: Callable[[], bool], stepped: Callable[[], None]) -> bool:
        """Trains from `progress` to the end of the epoch, or until `stop` returns true.

        Args:
            stop: asked before each step.
            stepped: called after each step.

        Returns:
            Whether the epoch is complete; if so `progress.epoch` counts it.
        """
        self.model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate
        order = self._order_of_epoch()
        totals = self.progress.totals.to(self.placement.device, self._total_dtype())
        batches = torch.split(order, self.config.train.batch_size)
        with onednn_matmul(self.placement.device):
            for batch in batches[self.progress.step :]:
                if self._agreed(stop):
                    break
                totals += self._step(batch)
                self.progress.step += 1
                stepped()
        self.progress.totals = totals.cpu().double()
        return self.progress.step == self.steps

    def finish_epoch(self) -> dict[str, float]:
        """Ends a complete epoch; returns its mean terms, nats per image."""
        self.gather_totals()
        means = (self.progress.totals / len(self.images)).tolist()
        self.progress = Progress(epoch=self.progress.epoch + 1)
        self.order_at_epoch_start = self.order.get_state()
        return dict(zip(_TERMS, means, strict=True))

    def gather_totals(self) -> None:
        """Sums the totals over all processes; each process then holds the sum.

        Every process must call it, and none may train on from the sum: see `resume.restore`.
        """
        if self.placement.world_size > 1:
            shared = self.progress.totals.to(self.placement.device, self._total_dtype())
            dist.all_reduce(shared)
            self.progress.totals = shared.cpu().double()

    def _adam(self) -> torch.optim.Adam:
        train = self.config.train
        return torch.optim.Adam(
            self.model.parameters(),
            train.learning_rate,
            betas=(train.adam_beta1, _ADAM_BETA2),
            eps=train.adam_epsilon,
            fused=self.placement.device.type != "mps",
        )

    def _network(self) -> nn.Module:
        network: nn.Module = self.model
        mode = self.config.machine.compile
        if mode != "off":
            network = cast("nn.Module", torch.compile(network, mode=mode))
        if self.placement.world_size > 1:
            network = DistributedDataParallel(network)
        return network

    def _step(self, index: Tensor) -> Tensor:
        """Trains on the images of an index [n]; returns the sums of its terms [3]."""
        count, share = len(index), self.placement.share(len(index))
        targets = self._targets(index)[share]
        samples = self.config.loss.samples
        noise = torch.randn(
            (samples, count, *self.model.latent_shape),
            generator=self.noise,
            device=self.placement.device,
        )
        with autocast(self.placement.device, self.config.machine):
            output: ForwardOutput = self.network(targets, noise[:, share])
        in_float32 = ForwardOutput(
            output.logits.float(),
            output.latents.float(),
            output.mean.float(),
            None if output.log_var is None else output.log_var.float(),
        )
        terms = OBJECTIVES[self.config.loss.objective](in_float32, targets, self.config.loss)
        self.optimizer.zero_grad(set_to_none=True)
        # DistributedDataParallel averages over the processes; the objective is the sum.
        torch.autograd.backward(terms["loss"] * (self.placement.world_size / count))
        self.optimizer.step()
        return torch.stack([terms[name].detach() for name in _TERMS])

    def _targets(self, index: Tensor) -> Tensor:
        """The images of an index [n] in [0, 1]; with `dynamic`, binarised anew at each step."""
        targets = self._chosen(index).float().div_(255)
        if self.config.data.binarize == "dynamic":
            return draw_binary(targets, self.noise)
        return targets

    def _chosen(self, index: Tensor) -> Tensor:
        images = self.images
        # Of a tensor's rows it is twenty times faster than `images[index]`.
        return images.index_select(0, index) if isinstance(images, Tensor) else images[index]

    def _order_of_epoch(self) -> Tensor:
        """The epoch's permutation; an interrupted epoch gets the same one again."""
        self.order.set_state(self.order_at_epoch_start)
        return torch.randperm(len(self.images), generator=self.order, device=self.placement.device)

    def _agreed(self, stop: Callable[[], bool]) -> bool:
        """Whether to stop; all processes stop before the same step."""
        if self.placement.world_size == 1:
            return stop()
        if self.progress.step % _STEPS_BETWEEN_AGREEMENTS:
            return False
        asked = torch.tensor(float(stop()), device=self.placement.device)
        dist.all_reduce(asked)
        return bool(asked.item())

    def _total_dtype(self) -> torch.dtype:
        return torch.float32 if self.placement.device.type == "mps" else torch.float64
