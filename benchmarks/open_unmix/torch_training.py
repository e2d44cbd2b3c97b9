"""Open-Unmix's own network, trained by PyTorch on our batches."""

# What is optional may be missing, and has no types.
# pyright: reportMissingImports=false

from typing import Any

import numpy as np
import torch

from benchmarks.open_unmix import peer
from jaxsep.convert.openunmix import to_variables
from jaxsep.convert.openunmix_export import to_arrays
from jaxsep.models.openunmix import OpenUnmixMasker

LEARNING_RATE = 1e-3


class TorchTraining:
    """The package's network, trained as its authors do: mean squared error, Adam with L2.

    Args:
      masker: Masker of the same network.
      weight_decay: Weight decay of Adam.
      seed: Seed of the initial weights and of dropout.
    """

    def __init__(self, masker: OpenUnmixMasker, *, weight_decay: float, seed: int = 0):
        torch.manual_seed(seed)
        self._masker = masker
        self._network = peer.OpenUnmix(
            nb_bins=masker.stft.bins,
            nb_channels=masker.stft.channels,
            hidden_size=masker.hidden_size,
            nb_layers=masker.num_layers,
            unidirectional=not masker.bidirectional,
            max_bin=masker.low_bins,
        )
        self._network.lstm.dropout = masker.dropout
        self._adam = torch.optim.Adam(
            self._network.parameters(), lr=LEARNING_RATE, weight_decay=weight_decay
        )

    def start_from(self, variables: dict[str, Any]) -> None:
        """Takes our weights; the second biases of the LSTM, which we don't have, stay 0."""
        arrays = to_arrays(variables, self._masker)
        self._network.load_state_dict({n: torch.tensor(array) for n, array in arrays.items()})
        for name, weight in self._network.named_parameters():
            weight.requires_grad_("bias_hh" not in name)

    def start_from_statistics(self, statistics: dict[str, np.ndarray]) -> None:
        """Scales the input as the data set has it; the other weights stay as they are."""
        bins, network = self._masker.low_bins, self._network
        network.input_mean.data = torch.tensor(-statistics["mean"][:bins])
        network.input_scale.data = torch.tensor(1 / statistics["std"][:bins])

    def step(self, mixture: np.ndarray, vocals: np.ndarray) -> float:
        """Takes a step on magnitudes `[batch, frames, channels, bins]` and returns the loss."""
        inputs, truth = (
            torch.tensor(part.transpose(0, 2, 3, 1).copy()) for part in (mixture, vocals)
        )
        self._adam.zero_grad()
        loss = torch.nn.functional.mse_loss(self._network(inputs), truth)
        loss.backward()
        self._adam.step()
        return loss.item()

    def variables(self) -> dict[str, Any]:
        """Returns the weights as our masker's variables."""
        arrays = {name: leaf.numpy() for name, leaf in self._network.state_dict().items()}
        return to_variables(arrays, self._masker, name="PyTorch")
