"""The arms of `train_speed.py`: each trains the article's VAE at L = 20 on MNIST, on request."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from latens_training.data import datasets

BATCH, PIXELS, HIDDEN, LATENT = 128, 784, 400, 20
Turn = Callable[[], None]


def mnist(count: int) -> Tensor:
    return datasets.load("mnist").train.images[:count]


def latens(count: int, *, autograd: bool = False, **machine: str) -> Turn:
    """The trainer of `latens-train`; with autograd where it would not use it."""
    from latens_training.config import DeviceConfig, ModelConfig, RunConfig
    from latens_training.devices import Placement
    from latens_training.models.build import build
    from latens_training.trainer import Trainer

    model = ModelConfig(latent_size=LATENT)
    config = RunConfig(model=model, machine=DeviceConfig.model_validate(machine))
    place = Placement(torch.device("cpu"))
    trainer = Trainer(build(model, (1, 28, 28)), mnist(count), config, place)
    if autograd:
        trainer.direct = None

    def turn() -> None:
        trainer.run_epoch(lambda: False, lambda: None)
        trainer.finish_epoch()

    return turn


class ExampleVAE(nn.Module):
    """The network of pytorch/examples: it returns probabilities and does all work in `forward`."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc21, self.fc22 = (
            nn.Linear(PIXELS, HIDDEN), nn.Linear(HIDDEN, LATENT), nn.Linear(HIDDEN, LATENT),
        )  # fmt: skip
        self.fc3, self.fc4 = nn.Linear(LATENT, HIDDEN), nn.Linear(HIDDEN, PIXELS)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden = functional.relu(self.fc1(images.view(-1, PIXELS)))
        mean, log_var = self.fc21(hidden), self.fc22(hidden)
        std = torch.exp(0.5 * log_var)
        latents = mean + torch.randn_like(std) * std
        return torch.sigmoid(self.fc4(functional.relu(self.fc3(latents)))), mean, log_var


def example(count: int) -> Turn:
    """The recipe of pytorch/examples: torchvision's set, ToTensor, a DataLoader, default Adam."""
    from torch.utils.data import DataLoader, Subset
    from torchvision import datasets as torchvision_datasets
    from torchvision import transforms

    raw = Path(tempfile.mkdtemp()) / "MNIST" / "raw"
    raw.mkdir(parents=True)
    from latens_training.data.idx import read_bytes

    for path in Path(datasets.__file__).parent.glob("files/mnist/*.gz"):
        (raw / path.stem).write_bytes(read_bytes(path))
    whole = torchvision_datasets.MNIST(
        str(raw.parent.parent), train=True, transform=transforms.ToTensor()
    )
    loader = DataLoader(Subset(whole, range(count)), batch_size=BATCH, shuffle=True)
    model = ExampleVAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def turn() -> None:
        total = 0.0
        for images, _ in loader:
            optimizer.zero_grad()
            decoded, mean, log_var = model(images)
            error = functional.binary_cross_entropy(
                decoded, images.view(-1, PIXELS), reduction="sum"
            )
            kl = -0.5 * torch.sum(1 + log_var - mean.pow(2) - log_var.exp())
            loss = error + kl
            loss.backward()
            total += loss.item()
            optimizer.step()

    return turn


def pythae(count: int) -> Turn:
    """The VAE and the trainer of pythae with the same network, on its in-memory data set."""
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, HIDDEN), nn.ReLU())
            self.mean, self.log_var = nn.Linear(HIDDEN, LATENT), nn.Linear(HIDDEN, LATENT)

        def forward(self, images: Tensor) -> ModelOutput:
            hidden = self.body(images)
            return ModelOutput(embedding=self.mean(hidden), log_covariance=self.log_var(hidden))

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(
                nn.Linear(LATENT, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, PIXELS), nn.Sigmoid()
            )

        def forward(self, latents: Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=self.body(latents).view(-1, 1, 28, 28))

    config = VAEConfig(input_dim=(1, 28, 28), latent_dim=LATENT, reconstruction_loss="bce")
    model = VAE(config, encoder=Encoder(), decoder=Decoder())
    images = mnist(count).float() / 255
    trainer = BaseTrainer(
        model,
        BaseDataset(images, torch.zeros(count)),
        training_config=BaseTrainerConfig(
            output_dir=tempfile.mkdtemp(),
            num_epochs=1,
            learning_rate=1e-3,
            per_device_train_batch_size=BATCH,
            no_cuda=True,
        ),
    )
    trainer.prepare_training()
    return lambda: trainer.train_step(epoch=1)


def bound(count: int) -> Turn:
    """Only the matrix products of a step, forward and backward."""
    layers = [(PIXELS, HIDDEN), (HIDDEN, 2 * LATENT), (LATENT, HIDDEN), (HIDDEN, PIXELS)]
    inputs = [torch.randn(BATCH, fan_in) for fan_in, _ in layers]
    outputs = [torch.randn(BATCH, fan_out) for _, fan_out in layers]
    weights = [torch.randn(fan_out, fan_in) for fan_in, fan_out in layers]
    products = [torch.empty_like(output) for output in outputs]
    gradients = [torch.empty_like(weight) for weight in weights]
    backward = [torch.empty_like(given) for given in inputs]

    def turn() -> None:
        for _ in range(-(-count // BATCH)):
            for index, weight in enumerate(weights):
                torch.mm(inputs[index], weight.t(), out=products[index])
                torch.mm(outputs[index].t(), inputs[index], out=gradients[index])
                if index:  # the gradient of the images is not needed
                    torch.mm(outputs[index], weight, out=backward[index])

    return turn


def bound_onednn(count: int) -> Turn:
    """The same products as `latens-train` computes them."""
    from latens_training.optimization.onednn_matmul import onednn_matmul

    products = bound(count)

    def turn() -> None:
        with onednn_matmul(torch.device("cpu")):
            products()

    return turn


ARMS: dict[str, Callable[[int], Turn]] = {
    "latens": latens,
    "latens-autograd": lambda count: latens(count, autograd=True),
    "latens-bfloat16": lambda count: latens(count, precision="bfloat16"),
    "latens-compile": lambda count: latens(count, compile="default"),
    "example": example,
    "pythae": pythae,
    "bound": bound,
    "bound-onednn": bound_onednn,
}
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def main() -> None:
    name, count, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    clock = CLOCKS[sys.argv[4]]
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    turn = ARMS[name](count)
    turn()
    print("arm: ready", flush=True)
    for _ in sys.stdin:
        start = clock()
        turn()
        print(f"arm: {count / (clock() - start)}", flush=True)


if __name__ == "__main__":
    main()
