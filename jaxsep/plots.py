"""Pictures of spectrograms, and of how a training fares."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from etils import epath
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from jaxsep.stft_config import StftConfig

DYNAMIC_RANGE_DB = 80
LOWEST_HZ = 40
# Of `jaxsep.health`, by caption.
PICTURED_NUMBERS = {
    "gradient norm, before clipping": "grad_norm",
    "size of update / size of parameters": "update_ratio",
    "activations out, rms": "out_rms",
}
# Told apart by the colour-blind. Source: Okabe and Ito, Color universal design, 2008.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]


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
    _save(figure, path)


def save_health(
    path: epath.Path, looks: Mapping[int, Mapping[str, Mapping[str, float]]], *, title: str
) -> None:
    """Draws norms of each layer over the steps, on logarithmic axes.

    Args:
      path: of the PNG file.
      looks: numbers of `jaxsep.health`, by step and layer. What isn't finite becomes a gap.
      title: of the picture.
    """
    figure = Figure(figsize=(10, 9), layout="constrained")
    axes: Any = figure.subplots(len(PICTURED_NUMBERS), 1, sharex=True)
    steps = sorted(looks)
    layers = list(looks[steps[0]])
    for axis, (caption, name) in zip(axes, PICTURED_NUMBERS.items(), strict=True):
        for place, layer in enumerate(layers):
            values = np.array([looks[step].get(layer, {}).get(name, np.nan) for step in steps])
            if np.isfinite(values).any():
                # Zero has no place on a logarithmic axis: a gap, too.
                shown = np.where(np.isfinite(values) & (values > 0), values, np.nan)
                colour = COLOURS[place % len(COLOURS)]
                label = layer if np.isfinite(shown).any() else f"{layer}: 0"
                axis.plot(steps, shown, color=colour, marker=".", label=label)
        axis.set_yscale("log")
        axis.grid(alpha=0.3)
        axis.set_title(caption, loc="left", fontsize=11)
        axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    axes[-1].set_xlabel("step")
    figure.suptitle(title)
    _save(figure, path)


def _save(figure: Figure, path: epath.Path) -> None:
    FigureCanvasAgg(figure)
    with path.open("wb") as file:
        figure.savefig(file, dpi=110, format="png")
