"""The study's pictures of how the trainings went."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from etils import epath
from matplotlib.figure import Figure

from jaxsep.plots.figures import COLOURS, save_figure

# Runs by the caption of their line.
Runs = Mapping[str, dict[str, Any]]


def save_curves(path: epath.Path, runs: Runs) -> None:
    """Draws the loss and the validation score of some trainings over their steps."""
    figure = Figure(figsize=(10, 8), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    _draw(above, runs, "train/loss", smooth=9)
    _draw(below, runs, "validation/sdr")
    above.set_yscale("log")
    above.set_title("training loss, smoothed", loc="left")
    below.set_title("validation, SDR of the vocals in dB", loc="left")
    below.set_xlabel("step")
    above.legend()
    save_figure(figure, path)


def save_gradients(path: epath.Path, runs: Runs) -> None:
    """Draws the norm of the whole gradient before clipping, and the loss."""
    figure = Figure(figsize=(10, 8), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    _draw(above, runs, "train/grad_norm")
    _draw(below, runs, "train/loss", smooth=3)
    for axis, title in ((above, "norm of the gradient, before clipping"), (below, "training loss")):
        axis.set_yscale("log")
        axis.set_title(title, loc="left")
    below.set_xlabel("step")
    above.legend(loc="center left", bbox_to_anchor=(1.0, 0.0))
    save_figure(figure, path)


def save_layers(path: epath.Path, runs: Runs) -> None:
    """Draws the gradient norm of each layer, a panel for each training."""
    figure = Figure(figsize=(10, 2 * len(runs) + 1), layout="constrained")
    axes: Any = figure.subplots(len(runs), 1, sharex=True, sharey=True, squeeze=False)
    for axis, (caption, run) in zip(axes[:, 0], runs.items(), strict=True):
        layers = {n: c for n, c in run["curves"]["layers"].items() if "grad_norm" in c}
        for colour, (layer, numbers) in zip(COLOURS, layers.items(), strict=False):
            values = _positive(numbers["grad_norm"])
            axis.plot(run["curves"]["layer_steps"], values, color=colour, label=layer)
        axis.set_yscale("log")
        axis.grid(alpha=0.3)
        axis.set_title(caption, loc="left")
    axes[-1, 0].set_xlabel("step")
    axes[0, 0].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    figure.suptitle("norm of each layer's gradient, before clipping")
    save_figure(figure, path)


def _draw(axis: Any, runs: Runs, name: str, *, smooth: int = 1) -> None:
    for colour, (caption, run) in zip(COLOURS, runs.items(), strict=False):
        curve = run["curves"][name]
        values = _positive(curve["values"]) if name.startswith("train") else curve["values"]
        if smooth > 1 and len(values) >= smooth:
            padded = np.pad(values, smooth // 2, mode="edge")
            values = np.convolve(padded, np.ones(smooth) / smooth, mode="valid")
        marker = "." if len(values) < 20 else ""
        axis.plot(curve["steps"], values, color=colour, label=caption, marker=marker)
    axis.grid(alpha=0.3)


def _positive(values: list[float | None]) -> np.ndarray:
    """What a logarithmic axis can't show becomes a gap."""
    numbers = np.array([np.nan if value is None else value for value in values])
    return np.where(numbers > 0, numbers, np.nan)
