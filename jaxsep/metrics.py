"""Scores in decibels, and where the numbers of a training go."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorboardX
from etils import epath

# Vocals 60 dB under the accompaniment are what codecs leave in an instrumental.
SILENT_VOCALS = 1e-6


def sdr(reference_energy: float, error_energy: float) -> float:
    """Returns the signal-to-distortion ratio in dB: plain energies, no filtering, no scaling."""
    return float(10 * np.log10(reference_energy / max(error_energy, 1e-12 * reference_energy)))


def waveform_sdr(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Returns the SDR in dB of a waveform against the true one, both `[samples, channels]`."""
    reference = reference.astype(np.float64)
    return sdr(float(np.sum(reference**2)), float(np.sum((reference - estimate) ** 2)))


class TrackEnergies:
    """Adds up energies of segments by track."""

    def __init__(self):
        self._sums: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))

    def add(self, tracks: Sequence[str], energies: Mapping[str, np.ndarray]) -> None:
        """Adds a batch: track names and, per energy, an array of the same length."""
        for name, values in energies.items():
            for track, value in zip(tracks, values, strict=True):
                if track:
                    self._sums[track][name] += float(value)

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


class MetricWriter:
    """Writes scalars as JSON lines and for TensorBoard.

    Args:
      workdir: gets `metrics.jsonl` and TensorBoard's event files.
      active: whether to write at all; one process of a pod does.
    """

    def __init__(self, workdir: epath.Path, *, active: bool):
        self._active = active
        if active:
            self._file = (workdir / "metrics.jsonl").open("a")
            self._board = tensorboardX.SummaryWriter(str(workdir), write_to_disk=True)

    def write(self, step: int, scalars: Mapping[str, Any]) -> None:
        """Writes the numbers of one step; None is left out."""
        if not self._active:
            return
        values = {name: float(value) for name, value in scalars.items() if value is not None}
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()
        for name, value in values.items():
            self._board.add_scalar(name, value, step)

    def close(self) -> None:
        if self._active:
            self._file.close()
            self._board.close()
