"""Pictures of spectrograms, of separators' errors, and of how a training fares."""

import contextlib
import io
import math
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import matplotlib
import numpy as np
from etils import epath
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from jaxsep.files import write_bytes
from jaxsep.plots.spectra import SIGNED_RANGE_DB, Picture, SeparationError, decibels, to_picture
from jaxsep.stft_config import StftConfig

DYNAMIC_RANGE_DB = 80
# Of `jaxsep.training.health`, by caption.
PICTURED_NUMBERS = {
    "gradient norm, before clipping": "grad_norm",
    "size of update / size of parameters": "update_ratio",
    "activations out, rms": "out_rms",
}
# Told apart by the colour-blind. Source: Okabe and Ito, Color universal design, 2008.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
DPI = 110


def save_spectrograms(
    path: epath.Path, magnitudes: Mapping[str, np.ndarray], stft: StftConfig, *, title: str
) -> None:
    """Draws spectrograms; see `save_pictures`.

    Args:
      path: of the PNG file.
      magnitudes: by caption, `[frames, channels, bins]` each; the channels' energies are averaged.
      stft: their format.
      title: of the picture.
    """
    pictures = {
        caption: to_picture(np.square(magnitude, dtype=np.float32).mean(axis=1), stft)
        for caption, magnitude in magnitudes.items()
    }
    save_pictures(path, pictures, title=title)


def save_pictures(path: epath.Path, pictures: Mapping[str, Picture], *, title: str) -> None:
    """Draws spectrograms one above the other, on one dB scale and one logarithmic frequency axis.

    Each is an image whose rows already lie at equal musical intervals, which is quick to draw.

    Args:
      path: of the PNG file.
      pictures: by caption.
      title: of the picture.
    """
    with _slide_style():
        figure, axes = _stack(len(pictures), next(iter(pictures.values())), title)
        loudest = max(float(picture.energy.max()) for picture in pictures.values())
        image: Any = None
        for axis, (caption, picture) in zip(axes, pictures.items(), strict=True):
            image = _draw_spectrogram(axis, picture, caption, loudest)
        _add_bar(figure, image, axes)
        save_figure(figure, path)


def save_errors(
    path: epath.Path,
    truth: Picture,
    errors: Mapping[str, SeparationError],
    *,
    stem: str,
    leaked: str,
    title: str,
) -> None:
    """Draws the true stem and, below, where each model's estimate is wrong, and in which way.

    What leaks more than it loses has one hue, what loses more the other; the stronger, the louder
    in dB below the mixture's loudest. Grey is above the frequencies that a model hears.

    Args:
      path: Path of the PNG file.
      truth: Picture of the true stem.
      errors: Errors by the model's name.
      stem: Name of the stem.
      leaked: Name of what leaked.
      title: Title of the picture.
    """
    stem = _plain(stem, 30)
    with _slide_style():
        figure, axes = _stack(1 + len(errors), truth, title)
        image = _draw_spectrogram(axes[0], truth, f"true {stem}", float(truth.energy.max()))
        _add_bar(figure, image, axes[:1])
        for axis, (name, error) in zip(axes[1:], errors.items(), strict=True):
            levels = error.signed_levels()
            limits = (-SIGNED_RANGE_DB, SIGNED_RANGE_DB)
            caption = _describe(_plain(name, 30), error, stem, _plain(leaked, 40), truth)
            image = _draw(axis, error.leaked, levels, caption, "PuOr_r", limits)
            axis.set_facecolor("0.8")
        bar = _add_bar(figure, image, axes[1:])
        bar.set_label(f"lost {stem} ← dB → leaked")
        bar.ax.yaxis.set_major_formatter(
            lambda level, _: _minus(f"{abs(level) - SIGNED_RANGE_DB:g}")
        )
        save_figure(figure, path)


def save_health(
    path: epath.Path, looks: Mapping[int, Mapping[str, Mapping[str, float]]], *, title: str
) -> None:
    """Draws norms of each layer over the steps, on logarithmic axes.

    Args:
      path: of the PNG file.
      looks: numbers of `jaxsep.training.health`, by step and layer. What isn't finite becomes a
        gap.
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
    save_figure(figure, path)


@contextlib.contextmanager
def _slide_style() -> Iterator[None]:
    """Fonts that can be read from afar; a script that they lack is no reason to warn."""
    with matplotlib.rc_context({"font.size": 13}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield


def _stack(count: int, frame: Picture, title: str) -> tuple[Figure, list[Axes]]:
    """Makes panels one above the other, of which four or fewer fit on a slide.

    Args:
      count: of panels.
      frame: what its axes show, all of them show.
      title: of the picture.
    """
    height = min(2.8, max(1.6, 6.5 / count))
    figure = Figure(figsize=(13, count * height + 0.8), layout="constrained")
    axes = list(figure.subplots(count, 1, sharex=True, sharey=True, squeeze=False)[:, 0])
    lowest, highest = frame.hertz
    decades = [10**power for power in range(6) if lowest <= 10**power <= highest]
    between = [n * 10**power for power in range(6) for n in range(2, 10)]
    axis = axes[0]  # the others share it
    axis.set_xlim(*frame.seconds)
    axis.set_ylim(math.log10(lowest), math.log10(highest))
    labels = [f"{hertz // 1000}k" if hertz >= 1000 else f"{hertz}" for hertz in decades]
    axis.set_yticks(np.log10(decades), labels)
    axis.set_yticks(np.log10([n for n in between if lowest <= n <= highest]), minor=True)
    axes[-1].set_xlabel("seconds")
    for axis in axes[:-1]:
        axis.tick_params(axis="x", length=0)
    figure.suptitle(_plain(title, 100), parse_math=False)
    return figure, axes


def _add_bar(figure: Figure, image: Any, axes: list[Axes]) -> Colorbar:
    """Adds a colour bar beside some panels, as wide as any other."""
    label = "dB, loudest = 0" if len(axes) > 1 else "dB"
    ticks = MultipleLocator(20)
    return figure.colorbar(image, ax=axes, label=label, ticks=ticks, pad=0.01, aspect=9 * len(axes))


def _describe(name: str, error: SeparationError, stem: str, leaked: str, truth: Picture) -> str:
    """Says how much leaked and is lost, and what a model of a lower rate than the song's heard."""
    highest = error.leaked.hertz[1]
    heard = f" (to {highest / 1000:g} kHz)" if highest < truth.hertz[1] else ""
    if error.leaked_db is None or error.lost_db is None:
        return f"{name}{heard}: no {stem} in this part"
    leaked_db, lost_db = _minus(f"{error.leaked_db:.1f}"), _minus(f"{error.lost_db:.1f}")
    return f"{name}{heard}: leaked {leaked} {leaked_db} dB, lost {lost_db} dB (re the true {stem})"


def _minus(number: str) -> str:
    return number.replace("-", "\N{MINUS SIGN}").replace("inf", "∞")


def _draw_spectrogram(axis: Axes, picture: Picture, caption: str, loudest: float) -> Any:
    levels = decibels(picture.energy, loudest, floor=-DYNAMIC_RANGE_DB)
    return _draw(axis, picture, levels, caption, "magma", (-DYNAMIC_RANGE_DB, 0))


def _draw(
    axis: Axes,
    picture: Picture,
    values: np.ndarray,
    caption: str,
    colours: str,
    limits: tuple[float, float],
) -> Any:
    """Draws values `[rows, columns]` in place of a picture's energies."""
    low, high = (math.log10(edge) for edge in picture.hertz)
    image = axis.imshow(
        values,
        cmap=colours,
        vmin=limits[0],
        vmax=limits[1],
        origin="lower",
        aspect="auto",
        extent=(*picture.seconds, low, high),
    )
    axis.set_ylabel("Hz")
    axis.set_title(_plain(caption, 120), loc="left", fontsize="medium", pad=4, parse_math=False)
    return image


def _plain(text: str, longest: int) -> str:
    """Makes a name that may be a file's fit for a picture: one short line of characters."""
    text = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def save_figure(figure: Figure, path: epath.Path) -> None:
    """Writes a PNG file, whole or not at all."""
    FigureCanvasAgg(figure)
    png = io.BytesIO()
    figure.savefig(png, dpi=DPI, format="png")
    write_bytes(path, png.getvalue())
