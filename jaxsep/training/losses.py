"""How far masked mixtures are from their targets.

Some losses need magnitudes alone. Because mixture = target + rest holds for the complex
spectrograms, their three magnitudes determine the angle between mixture M and target S:

    Re(M S*) = (|M|^2 + |S|^2 - |R|^2) / 2,

and with it the exact error of a real mask m, phase included:

    |m M - S|^2 = m^2 |M|^2 - 2 m Re(M S*) + |S|^2.

The others, those of `WITH_PHASE`, need complex spectra. Where they speak of waveforms, these are
the inverse transforms of masked and true spectra, where all frames overlap.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Inexact

from jaxsep.models.masker import Masks
from jaxsep.spectrogram import analyse, synthesise
from jaxsep.stft_config import StftConfig

SILENCE = 1.0  # energy of an example, far below any music's; keeps silence from dividing by zero
FAINT = 1e-3  # magnitude below which nothing is heard; keeps the slope of its power finite
LOG_FLOOR = 0.03  # relative error, -15 dB, from which on less of it hardly counts
# Error as a share of the mixture's energy, -30 dB, from which on less of it hardly counts.
SDR_FLOOR = 1e-3
RESOLUTIONS = (4096, 2048, 1024, 512, 256)  # windows of `multi_resolution`, in samples
RESOLUTION_HOP = 147


class Parts(struct.PyTreeNode):
    """Spectra of a batch: complex ones, or their magnitudes.

    Attributes:
      mixture: Spectrum of the mixture, with an axis of length 1 for the targets.
      targets: Spectrum of each target.
      rests: Spectrum of what the mixture holds beside each target.
      valid: False for padding behind a short example.
      stft: Transform of the spectra.
    """

    mixture: Inexact[Array, "batch 1 frames channels bins"]
    targets: Inexact[Array, "batch targets frames channels bins"]
    rests: Inexact[Array, "batch targets frames channels bins"]
    valid: Bool[Array, "batch frames"]
    stft: StftConfig = struct.field(pytree_node=False)

    @property
    def magnitudes(self) -> "Parts":
        """The same without phases."""
        return self.replace(
            mixture=jnp.abs(self.mixture), targets=jnp.abs(self.targets), rests=jnp.abs(self.rests)
        )


# Loss of each example and target.
Losses = Float[Array, "batch targets"]
LossFn = Callable[[Masks, Parts], Losses]
ErrorFn = Callable[[Masks, Parts], Float[Array, "batch targets frames channels bins"]]


def error_energy(masks: Masks, parts: Parts) -> Float[Array, "batch targets frames channels bins"]:
    """Returns the energy of the masked mixture's difference from the target, in each bin.

    Reference: Erdogan et al., Phase-sensitive and recognition-boosted speech separation using deep
    recurrent neural networks, 2015 (the loss); the angle from three magnitudes is the law of
    cosines.
    """
    if jnp.iscomplexobj(parts.mixture):
        difference = masks * parts.mixture - parts.targets
        return jnp.square(difference.real) + jnp.square(difference.imag)
    mixture, target = jnp.square(parts.mixture), jnp.square(parts.targets)
    projection = (mixture + target - jnp.square(parts.rests)) / 2
    error = jnp.square(masks * parts.mixture) - 2 * masks * projection + target
    # Rounded magnitudes can miss the triangle by a little. Not jnp.maximum: XLA may take 0 for the
    # larger of 0 and NaN, and a bad example would go unseen.
    return jnp.where(error < 0, 0.0, error)


def magnitude_error(
    masks: Masks, parts: Parts
) -> Float[Array, "batch targets frames channels bins"]:
    """Returns the squared difference of the masked mixture's and the target's magnitudes."""
    return jnp.square(jnp.abs(masks * parts.mixture) - jnp.abs(parts.targets))


def relative_errors(error_fn: ErrorFn, masks: Masks, parts: Parts) -> Losses:
    """Returns errors over the mixture's energy.

    Args:
      error_fn: Error of each bin, such as `error_energy`.
      masks: Masks of the targets.
      parts: Spectra.

    Returns:
      The losses; 0 is perfect, a mask of zeros scores the target's share.
    """
    error = _sum(error_fn(masks, parts), parts)
    return error / (_sum(jnp.square(jnp.abs(parts.mixture)), parts) + SILENCE)


def log_relative_errors(error_fn: ErrorFn, masks: Masks, parts: Parts) -> Losses:
    """Returns the logarithm of relative errors: decibels count, whatever is sung.

    Takes and returns what `relative_errors` does; 0 is perfect. A quiet voice, of which a mask of
    zeros misses little energy, weighs as much as a loud one, and an instrumental piece with little
    in its vocals goes on being improved.

    Reference: Wisdom et al., What's all the fuss about free universal sound separation data?, 2021
    (a thresholded ratio in decibels, that of the mixture's energy where a source is silent).
    """
    return jnp.log1p(relative_errors(error_fn, masks, parts) / LOG_FLOOR)


def mean_errors(error_fn: ErrorFn, masks: Masks, parts: Parts) -> Losses:
    """Returns mean errors of the bins: the louder an example is, the more it weighs."""
    return _mean(error_fn(masks, parts), parts)


def compressed_errors(power: float, exponent: float, masks: Masks, parts: Parts) -> Losses:
    """Returns errors of compressed magnitudes, over the mixture's.

    Args:
      power: Exponent of the magnitudes; below 1 quiet bins weigh more.
      exponent: Exponent of the difference; 1 is its size, 2 its square.
      masks: Masks of the targets.
      parts: Spectra.

    Returns:
      The losses; 0 is perfect.

    Reference: Jansson et al., Singing voice separation with deep U-Net convolutional networks, 2017
    (power 1, exponent 1); Braun and Tashev, A consolidated view of loss functions for supervised
    deep learning-based speech enhancement, 2021 (power 0.3, exponent 2).
    """
    mixture, targets, estimates = (
        (jnp.abs(spectrum) + FAINT) ** power
        for spectrum in (parts.mixture, parts.targets, masks * parts.mixture)
    )
    error = _sum(jnp.abs(estimates - targets) ** exponent, parts)
    return error / _sum(mixture**exponent, parts)


def spectrum_l1(masks: Masks, parts: Parts) -> Losses:
    """Returns mean distances of real and of imaginary parts.

    Reference: Luo and Yu, Music source separation with band-split RNN, 2023.
    """
    difference = masks * parts.mixture - parts.targets
    return _mean(jnp.abs(difference.real) + jnp.abs(difference.imag), parts)


def waveform_l1(masks: Masks, parts: Parts) -> Losses:
    """Returns mean distances of the waveforms, full scale 1.

    Reference: Défossez et al., Music source separation in the waveform domain, 2019.
    """
    return jnp.mean(jnp.abs(_difference(masks, parts)), axis=(2, 3))


def multi_resolution(masks: Masks, parts: Parts) -> Losses:
    """Returns mean distances of complex spectra, summed over windows of several lengths.

    Frames are `RESOLUTION_HOP` samples apart, and half a window at most.

    Reference: Lu et al., Music source separation with band-split RoPE transformer, 2023.
    """
    difference = _difference(masks, parts)
    total = jnp.zeros(difference.shape[:2])
    for length in RESOLUTIONS:
        stft = StftConfig(n_fft=length, hop_length=min(RESOLUTION_HOP, length // 2))
        missing = max(0, length - difference.shape[2])
        padded = jnp.pad(difference, ((0, 0), (0, 0), (0, missing), (0, 0)))
        spectrum = analyse(padded, stft)
        # The slope of the modulus at 0 isn't finite.
        square = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
        total += jnp.mean(jnp.sqrt(square + jnp.square(FAINT)) - FAINT, axis=(2, 3, 4))
    return total


def negative_sdr(masks: Masks, parts: Parts) -> Losses:
    """Returns the negative SDR of the waveforms, in decibels.

    Takes errors below -30 dB of the mixture, and silent targets, for as large as that: nothing is
    gained by a silence more perfect than is heard.

    Reference: Wisdom et al., What's all the fuss about free universal sound separation data?, 2021.
    """
    error, target, mixture = (
        jnp.sum(jnp.square(wave), axis=(2, 3))
        for wave in (
            _difference(masks, parts),
            _waveform(parts.targets, parts),
            _waveform(parts.mixture, parts),
        )
    )
    floor = SDR_FLOOR * mixture + 1e-8  # so that silence has a ratio
    return 10 * jnp.log10((error + floor) / (target + floor))


def _sum(values: jax.Array, parts: Parts) -> Losses:
    """Sums the bins of frames that aren't padding."""
    return jnp.sum(values * parts.valid[:, None, :, None, None], axis=(2, 3, 4))


def _mean(values: jax.Array, parts: Parts) -> Losses:
    """Averages the bins of frames that aren't padding."""
    inside = jnp.broadcast_to(parts.valid[:, None, :, None, None], values.shape)
    return jnp.mean(values, axis=(2, 3, 4), where=inside)


def _difference(masks: Masks, parts: Parts) -> Float[Array, "batch targets samples channels"]:
    return _waveform(masks * parts.mixture - parts.targets, parts)


def _waveform(spectrum: jax.Array, parts: Parts) -> Float[Array, "batch targets samples channels"]:
    """Inverts spectra, where all frames overlap; padding is silence."""
    edge = parts.stft.n_fft - parts.stft.hop_length
    inside = spectrum * parts.valid[:, None, :, None, None]
    return synthesise(inside, parts.stft)[:, :, edge:-edge]


LOSSES: dict[str, LossFn] = {
    "phase_sensitive": functools.partial(relative_errors, error_energy),
    "log_phase_sensitive": functools.partial(log_relative_errors, error_energy),
    "magnitude": functools.partial(relative_errors, magnitude_error),
    "absolute": functools.partial(compressed_errors, 1.0, 1.0),
    "compressed": functools.partial(compressed_errors, 0.3, 2.0),
    "mean_square": functools.partial(mean_errors, magnitude_error),
    "spectrum_l1": spectrum_l1,
    "waveform_l1": waveform_l1,
    "multi_resolution": multi_resolution,
    "negative_sdr": negative_sdr,
}
WITH_PHASE = ("spectrum_l1", "waveform_l1", "multi_resolution", "negative_sdr")


class Loss:
    """A sum of losses.

    Args:
      names: Keys of `LOSSES`, joined by "+".

    Attributes:
      needs_phase: Whether it needs complex spectra.

    Raises:
      ValueError: If there is no such loss.
    """

    def __init__(self, names: str):
        terms = [name.strip() for name in names.split("+")]
        if unknown := [name for name in terms if name not in LOSSES]:
            raise ValueError(
                f"loss={unknown[0]!r} is unknown; use one of {', '.join(LOSSES)}, or a sum of them"
                " such as spectrum_l1+waveform_l1"
            )
        self._terms = [LOSSES[name] for name in terms]
        self.needs_phase = any(name in WITH_PHASE for name in terms)

    def __call__(self, masks: Masks, parts: Parts) -> Losses:
        """Returns the loss of each example and target."""
        return functools.reduce(jnp.add, [term(masks, parts) for term in self._terms])
