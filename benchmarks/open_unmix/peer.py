"""Open-Unmix's side: its model, trained and run by a small driver.

    python -m benchmarks.open_unmix.peer WEIGHTS SONG OUTPUT SHAPE

separates a song as its users do: the whole of it at once, without expectation maximisation. Its
own command needs torchaudio, to read files; soundfile does that here.
"""

# What is optional may be missing, and has no types.
# pyright: reportMissingImports=false

import sys
import types
from pathlib import Path

import numpy as np
import soundfile
import torch

from benchmarks.open_unmix import HIDDEN_SIZE, SHAPES

# It is imported for reading files and for resampling, neither of which is measured.
sys.modules.setdefault("torchaudio", types.ModuleType("torchaudio"))

from openunmix.model import OpenUnmix, Separator  # noqa: E402

N_FFT, HOP = 4096, 1024
BANDWIDTH_BINS = 1487  # up to 16 kHz, as its training has it


def make_model(shape: str) -> OpenUnmix:
    """Makes a model with random weights."""
    layers = SHAPES[shape]
    return OpenUnmix(
        nb_bins=N_FFT // 2 + 1,
        nb_channels=2,
        hidden_size=HIDDEN_SIZE,
        nb_layers=layers.num_layers,
        unidirectional=not layers.bidirectional,
        max_bin=BANDWIDTH_BINS,
    )


class Training:
    """Its training step: mean squared error, Adam with L2."""

    def __init__(self, shape: str, mixture: np.ndarray, vocals: np.ndarray):
        self._model = make_model(shape)
        self._adam = torch.optim.Adam(self._model.parameters(), lr=1e-3, weight_decay=1e-5)
        # From [batch, frames, channels, bins] to its own order.
        self._batch = [torch.from_numpy(m.transpose(0, 2, 3, 1).copy()) for m in (mixture, vocals)]

    def step(self) -> None:
        mixture, vocals = self._batch
        self._adam.zero_grad()
        torch.nn.functional.mse_loss(self._model(mixture), vocals).backward()
        self._adam.step()


class Stream:
    """Its unidirectional model, hop by hop: its layers called one by one, with the state kept."""

    def __init__(self, shape: str):
        self._model = make_model(shape).eval()
        self._window = torch.hann_window(N_FFT)
        self._heard, self._sounding = torch.zeros(2, N_FFT), torch.zeros(2, N_FFT)
        self._state = None

    @torch.inference_mode()
    def push(self, samples: np.ndarray) -> np.ndarray:
        """Takes `[HOP, 2]` samples and returns as many of the vocals."""
        model = self._model
        self._heard = torch.cat([self._heard[:, HOP:], torch.from_numpy(samples.T.copy())], dim=1)
        spectrum = torch.fft.rfft(self._heard * self._window)
        mixture = spectrum.abs()
        x = (mixture[:, :BANDWIDTH_BINS] + model.input_mean) * model.input_scale
        x = torch.tanh(model.bn1(model.fc1(x.reshape(1, -1))))[None]
        y, self._state = model.lstm(x, self._state)
        x = torch.relu(model.bn2(model.fc2(torch.cat([x, y], dim=-1)[0])))
        x = model.bn3(model.fc3(x)).reshape(2, -1) * model.output_scale + model.output_mean
        frame = torch.fft.irfft(spectrum * torch.relu(x)) * self._window / 1.5
        self._sounding = torch.cat([self._sounding[:, HOP:], torch.zeros(2, HOP)], dim=1) + frame
        return self._sounding[:, :HOP].T.numpy()


def main() -> None:
    weights, song, output, shape = sys.argv[1:]
    model = make_model(shape)
    model.load_state_dict(torch.load(weights, weights_only=True))
    separator = Separator({"vocals": model}, niter=0)
    separator.freeze()
    waveform, rate = soundfile.read(song, dtype="float32", always_2d=True)
    with torch.inference_mode():
        vocals = separator(torch.from_numpy(waveform.T.copy())[None])[0, 0].T.numpy()
    for stem, samples in {"vocals": vocals, "accompaniment": waveform - vocals}.items():
        soundfile.write(Path(output) / f"{stem}.wav", samples, rate, subtype="PCM_16")


if __name__ == "__main__":
    main()
