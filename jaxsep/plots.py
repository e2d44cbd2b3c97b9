"""Pictures of spectrograms."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from etils import epath
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from jaxsep.stft_config import StftConfig

DYNAMIC_RANGE_DB = 80
LOWEST_HZ = 40


def save_spectrograms(
    path: epath.Path, magnitudes: Mapping[str, np.ndarray], stft: StftConfig, *, title: str
) -> None:
    """Draws spectrograms one above the other, on one dB scale and one logarithmic frequency axis.

    Args:
      path: of the PNG file.
      magnitudes: by caption, `[frames, channels, bins]` each; channels are averaged.
      stft: their format.
      title: of the picture.
    """
    figure = Figure(figsize=(10, 2.6 * len(magnitudes) + 0.6), layout="constrained")
    axes: Any = figure.subplots(len(magnitudes), 1, sharex=True, squeeze=False)[:, 0]
    loudest = max(float(np.max(magnitude)) for magnitude in magnitudes.values())
    frequencies = np.arange(stft.bins) * stft.sample_rate / stft.n_fft
    image: Any = None
    for axis, (caption, magnitude) in zip(axes, magnitudes.items(), strict=True):
        level = magnitude.astype(np.float32).mean(axis=1).T
        decibels = 20 * np.log10(np.maximum(level / max(loudest, 1e-9), 1e-9))
        seconds = np.arange(level.shape[1]) * stft.hop_length / stft.sample_rate
        image = axis.pcolormesh(
            seconds,
            frequencies[1:],
            decibels[1:],
            vmin=-DYNAMIC_RANGE_DB,
            vmax=0,
            cmap="magma",
            shading="nearest",
            rasterized=True,
        )
        axis.set_yscale("log")
        axis.set_ylim(LOWEST_HZ, stft.sample_rate / 2)
        axis.set_yticks([t for t in (100, 1000, 10000) if t < stft.sample_rate / 2])
        axis.yaxis.set_major_formatter(lambda hertz, _: f"{hertz:g}")
        axis.set_ylabel("Hz")
        axis.set_title(caption, loc="left", fontsize=11)
    axes[-1].set_xlabel("seconds")
    figure.suptitle(title)
    figure.colorbar(image, ax=list(axes), label="dB, the loudest being 0", pad=0.01)
    FigureCanvasAgg(figure)
    with path.open("wb") as file:
        figure.savefig(file, dpi=110, format="png")
