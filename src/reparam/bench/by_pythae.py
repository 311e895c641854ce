"""The same model and epoch in pythae, where it is installed. It imports nothing of this library."""

from __future__ import annotations

import importlib
import io
import logging
import tempfile
from collections.abc import Callable
from contextlib import redirect_stderr
from typing import Any

from torch import Tensor, nn


def epochs(x: Tensor, hidden: int, latent: int, batch: int) -> Callable[[], object]:
    """A round is an epoch of its trainer on rows of zeros and ones (N, D), after what it sets up once."""
    models: Any = importlib.import_module("pythae.models")
    networks: Any = importlib.import_module("pythae.models.nn")
    outputs: Any = importlib.import_module("pythae.models.base.base_utils")
    trainers: Any = importlib.import_module("pythae.trainers")
    datasets: Any = importlib.import_module("pythae.data.datasets")

    class Encoder(networks.BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Sequential(nn.Linear(x.shape[1], hidden), nn.ReLU())
            self.mean, self.log_variance = nn.Linear(hidden, latent), nn.Linear(hidden, latent)

        def forward(self, rows: Tensor) -> Any:
            h = self.layer(rows)
            return outputs.ModelOutput(embedding=self.mean(h), log_covariance=self.log_variance(h))

    class Decoder(networks.BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(
                nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, x.shape[1]), nn.Sigmoid()
            )

        def forward(self, z: Tensor) -> Any:
            return outputs.ModelOutput(reconstruction=self.layers(z))

    logging.disable(logging.WARNING)
    config = models.VAEConfig(input_dim=(x.shape[1],), latent_dim=latent, reconstruction_loss="bce")
    settings = trainers.BaseTrainerConfig(
        output_dir=tempfile.mkdtemp(), per_device_train_batch_size=batch, learning_rate=1e-3, no_cuda=True
    )
    trainer = trainers.BaseTrainer(
        model=models.VAE(config, encoder=Encoder(), decoder=Decoder()), training_config=settings,
        train_dataset=datasets.BaseDataset(x, x.new_zeros(len(x))),
    )  # fmt: skip
    trainer.prepare_training()

    def epoch() -> None:
        with redirect_stderr(io.StringIO()):  # its bar
            trainer.train_step(1)

    return epoch
