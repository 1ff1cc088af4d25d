"""Trains epoch by epoch: the network, its optimiser, and two streams of random numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from latens_training.data.augmentation import augmented, transforms_of
from latens_training.data.binarization import draw_binary
from latens_training.devices import Placement, autocast
from latens_training.metrics.evaluation import known_labels
from latens_training.models.autoencoder import ForwardOutput
from latens_training.objectives.batch import Batch
from latens_training.objectives.registry import build_objective
from latens_training.optimization.averaging import WeightAverage
from latens_training.optimization.direct_gradients import DirectGradients
from latens_training.optimization.onednn_matmul import onednn_matmul
from latens_training.optimization.optimizers import Auxiliary, build_optimizer
from latens_training.optimization.schedules import learning_rate, warmup_factor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from latens_training.config import RunConfig
    from latens_training.data.types import Images
    from latens_training.models.autoencoder import Autoencoder
    from latens_training.objectives.batch import Objective, Terms

_STEPS_BETWEEN_AGREEMENTS = 16


@dataclass
class Progress:
    """The progress of a run, which resuming needs beside weights, moments and generators."""

    epoch: int = 0
    """Whole epochs done."""
    step: int = 0
    """Steps done in the current epoch."""
    terms: tuple[str, ...] = ()
    """The names of the objective's terms, once a step has given them."""
    totals: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))
    """Their sums over the images of the current epoch; nats."""
    seconds: float = 0.0
    """Seconds that the current epoch has taken."""


class Trainer:
    """Trains a network on images that stay on its device.

    Batches are global: under torchrun each process takes its slice of the same order and the same
    noise, and gradients are summed over the global batch and divided by its size. So the objective,
    beta included, does not depend on the number of processes.
    """

    def __init__(
        self,
        model: Autoencoder,
        images: Images,
        config: RunConfig,
        placement: Placement,
        objective: Objective | None = None,
        labels: Tensor | None = None,
    ) -> None:
        """Takes what a run needs; `labels`, int64 [n], are read for a conditional model alone."""
        device = placement.device
        self.model = model.to(device)
        self.images = images.to(device)
        self.labels = known_labels(self.model, labels)
        self.config = config
        self.placement = placement
        self.optimizer = build_optimizer(self.model, config.train, device)
        self.objective = objective or build_objective(config.loss, self.model)
        self.auxiliary = Auxiliary.of(self.objective, config.train, placement)
        self.transforms = transforms_of(config.data.augment, model.image_shape)
        self.average = WeightAverage(self.model, config.train.ema) if config.train.ema else None
        self.order = torch.Generator(device).manual_seed(config.train.seed)
        self.noise = torch.Generator(device).manual_seed(config.train.seed + 1)
        self.order_at_epoch_start = self.order.get_state()
        self.progress = Progress()
        self.network = self._network()
        self.direct = DirectGradients.of(self.model, self.objective, config, placement)
        """None where autograd finds the gradients."""

    @property
    def steps(self) -> int:
        """Steps per epoch; the last batch may be smaller."""
        return -(-len(self.images) // self.config.train.batch_size)

    @property
    def learning_rate(self) -> float:
        """The learning rate of the current epoch, without its warm-up."""
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
        self._set_learning_rate()
        order = self._order_of_epoch()
        totals = self.progress.totals.to(self.placement.device, self._total_dtype())
        batches = torch.split(order, self.config.train.batch_size)
        with onednn_matmul(self.placement.device):
            for index in batches[self.progress.step :]:
                if self._agreed(stop):
                    break
                self._begin_to_read(batches)
                if self.config.train.warmup:
                    self._set_learning_rate()
                terms = self._step(index)
                totals = totals + terms if len(totals) else terms.to(self._total_dtype())
                self.progress.step += 1
                stepped()
        self.progress.totals = totals.cpu().double()
        return self.progress.step == self.steps

    def finish_epoch(self) -> dict[str, float]:
        """Ends a complete epoch; returns its mean terms, nats per image."""
        self.gather_totals()
        means = (self.progress.totals / len(self.images)).tolist()
        terms = self.progress.terms
        self.progress = Progress(epoch=self.progress.epoch + 1)
        self.order_at_epoch_start = self.order.get_state()
        return dict(zip(terms, means, strict=True))

    def gather_totals(self) -> None:
        """Sums the totals over all processes; each process then holds the sum.

        Every process must call it, and none may train on from the sum: see `resume.restore`.
        """
        if self.placement.world_size > 1 and len(self.progress.totals):
            shared = self.progress.totals.to(self.placement.device, self._total_dtype())
            dist.all_reduce(shared)
            self.progress.totals = shared.cpu().double()

    def _set_learning_rate(self) -> None:
        rate = self.learning_rate * warmup_factor(self.config.train, self._epochs_done())
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def _epochs_done(self) -> float:
        return self.progress.epoch + self.progress.step / self.steps

    def _network(self) -> nn.Module:
        network: nn.Module = self.model
        mode = self.config.machine.compile
        if mode != "off":
            network = cast("nn.Module", torch.compile(network, mode=mode))
        if self.placement.world_size > 1:
            network = DistributedDataParallel(network)
        return network

    def _step(self, index: Tensor) -> Tensor:
        """Trains on the images of an index [n]; returns the sums of its terms."""
        count, share = len(index), self.placement.share(len(index))
        targets = self._targets(index)[share]
        samples = self.config.loss.samples
        noise = torch.randn(
            (samples, count, *self.model.latent_shape),
            generator=self.noise,
            device=self.placement.device,
        )
        if self.direct is not None:
            terms = self.direct.step(targets, noise[0])
            self._move()
            return self._recorded(terms)
        known = () if self.labels is None else (self.labels[index][share],)
        with autocast(self.placement.device, self.config.machine):
            output: ForwardOutput = self.network(targets, noise[:, share], *known)
        in_float32 = ForwardOutput(
            output.decoded.float(),
            output.latents.float(),
            output.mean.float(),
            None if output.log_var is None else output.log_var.float(),
        )
        terms = self.objective(
            Batch(
                in_float32,
                targets,
                self.model.likelihood,
                self._epochs_done(),
                len(self.images),
                self.noise,
            )
        )
        self._descend(terms, count)
        return self._recorded(terms)

    def _descend(self, terms: Terms, count: int) -> None:
        """One step of the optimiser against the loss, and of the objective's own weights."""
        self.optimizer.zero_grad(set_to_none=True)
        # DistributedDataParallel averages over the processes; the objective is the sum.
        scale = self.placement.world_size / count
        # The loss reaches the objective's own weights too, which `auxiliary` trains alone.
        kept = self.auxiliary.gradients(terms, scale) if self.auxiliary else None
        torch.autograd.backward(terms["loss"] * scale)
        self._move()
        if self.auxiliary and kept is not None:
            self.auxiliary.step(kept)

    def _move(self) -> None:
        """One step of the optimiser along the gradients that are set."""
        norm = self.config.train.clip_norm
        if norm:
            nn.utils.clip_grad_norm_(self.model.parameters(), norm)
        self.optimizer.step()
        if self.average is not None:
            self.average.update()

    def _recorded(self, terms: Terms) -> Tensor:
        """The sums of the terms in one tensor, in the order of `progress.terms`."""
        if not self.progress.terms:
            self.progress.terms = tuple(terms)
        return torch.stack([terms[name].detach() for name in self.progress.terms])

    def _targets(self, index: Tensor) -> Tensor:
        """The images of an index [n] in [0, 1], augmented; `dynamic` binarises them anew."""
        chosen = self._chosen(index)
        if self.transforms:
            chosen = augmented(chosen, self.transforms, self.noise)
        targets = chosen.float().div_(255)
        if self.config.data.binarize == "dynamic":
            return draw_binary(targets, self.noise)
        return targets

    def _chosen(self, index: Tensor) -> Tensor:
        images = self.images
        # Of a tensor's rows it is twenty times faster than `images[index]`.
        return images.index_select(0, index) if isinstance(images, Tensor) else images[index]

    def _begin_to_read(self, batches: Sequence[Tensor]) -> None:
        """Reads the next batch while a step runs, where images stay on disk."""
        prefetch, following = getattr(self.images, "prefetch", None), self.progress.step + 1
        if prefetch is not None and following < len(batches):
            prefetch(batches[following])

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
