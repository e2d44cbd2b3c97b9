"""Scores in decibels."""

import numpy as np


def sdr(reference_energy: float, error_energy: float) -> float:
    """Returns the signal-to-distortion ratio in dB: plain energies, no filtering, no scaling."""
    return float(10 * np.log10(reference_energy / max(error_energy, 1e-12 * reference_energy)))


def waveform_sdr(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Returns the SDR in dB of a waveform against the true one, both `[samples, channels]`."""
    reference = reference.astype(np.float64)
    return sdr(float(np.sum(reference**2)), float(np.sum((reference - estimate) ** 2)))


def si_sdr(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Returns the scale-invariant SDR in dB, both `[samples, channels]`, one scale for all.

    It is within -120 and 120 dB, and NaN if the estimate is silent.

    Reference: Le Roux et al., SDR: half-baked or well done?, 2019.
    """
    reference, estimate = reference.astype(np.float64), estimate.astype(np.float64)
    target = np.vdot(reference, estimate) / np.vdot(reference, reference) * reference
    kept, lost = float(np.sum(target**2)), float(np.sum((target - estimate) ** 2))
    if not kept + lost:
        return float("nan")
    return sdr(max(kept, 1e-12 * lost), lost)
