"""Scores in decibels."""

from collections import defaultdict
from collections.abc import Mapping

import numpy as np

# Vocals 60 dB under the accompaniment are what codecs leave in an instrumental.
SILENT_VOCALS = 1e-6


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


class TrackEnergies:
    """Adds up energies of segments by track."""

    def __init__(self):
        self._sums: dict[int, dict[str, float]] = defaultdict(lambda: defaultdict(float))

    def add(self, tracks: np.ndarray, energies: Mapping[str, np.ndarray]) -> None:
        """Adds a batch.

        Args:
          tracks: number of each segment's track; those below 0 are left out.
          energies: by name, arrays of the same length.
        """
        for name, values in energies.items():
            for track, value in zip(tracks, values, strict=True):
                if track >= 0:
                    self._sums[int(track)][name] += float(value)

    def mean_sdr(self, error: str) -> float | None:
        """Averages the tracks' SDR of the vocals in dB.

        Tracks whose vocals are silent don't count; if that is all of them, the mean is None.
        """
        scores = [
            sdr(e["vocals"], e[error])
            for e in self._sums.values()
            if e["vocals"] > SILENT_VOCALS * e["mixture_error"]
        ]
        return float(np.mean(scores)) if scores else None
