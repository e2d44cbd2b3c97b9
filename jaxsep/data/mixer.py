"""Makes mixtures from the files of a data set, on the host."""

from typing import Any

import numpy as np
import scipy.signal
import soxr

from jaxsep.data.mixing import NOTHING, SPEED_STEPS, TOGETHER, Mixing, Plan, Planner
from jaxsep.data.records import INT16_SCALE, Dataset
from jaxsep.data.tfrecord import RecordSource

LEVEL_FRAME = 4096  # samples over which a level is taken
PAUSE = 1e-3  # energy of a pause, at most, over that of the loudest frame
QUIETEST = 0.01  # level, -40 dB of full scale: the noise of a long pause isn't raised to a voice


class Mixer:
    """Makes mixtures of a split's records.

    Args:
      dataset: of waveforms.
      split: where the stems are from.
      frames: of a mixture's magnitudes.
      mixing: how.

    Attributes:
      voices: numbers of the records with vocals.
      plan: draws a mixture, see `Planner.plan`.
      origin: tells what a record holds, see `Planner.origin`.

    Raises:
      DatasetError: if the split lacks vocals or one of the other stems.
    """

    def __init__(self, dataset: Dataset, split: str, *, frames: int, mixing: Mixing):
        planner = Planner(dataset, split, mixing)
        self.voices, self.plan, self.origin = planner.voices, planner.plan, planner.origin
        self._codec, self._stft, self._frames = dataset.codec, dataset.stft, frames
        self._samples = num_samples(frames, dataset)
        self._source = RecordSource(dataset.shards(split))

    def mix(self, voice: int, rng: np.random.Generator) -> dict[str, Any]:
        """Plans a mixture and makes it."""
        return self.play(self.plan(voice, rng))

    def play(self, plan: Plan) -> dict[str, Any]:
        """Makes a mixture.

        Args:
          plan: of `plan`.

        Returns:
          `stems`: float32 `[2, samples, channels]`, vocals and accompaniment; and what the
          magnitudes of both are yet to be multiplied with, `gains`: float32 `[2, bins]`. Further
          int32 `num_frames`, and of the voice or, where there is none, of the backing: `record`,
          `first_frame` and `swapped`, which is 0.
        """
        firsts, stems = [], np.zeros((2, self._samples, self._stft.channels), np.float32)
        for part, record in enumerate(plan["parts"].tolist()):
            waveform = self._read(record) if record != NOTHING else np.zeros_like(stems[0, :0])
            speed, hop_length = int(plan["speeds"][part]), self._stft.hop_length
            latest = max(0, len(waveform) - num_played(self._samples, speed)) // hop_length
            first = min(latest, int(plan["places"][part] * np.float32(latest + 1)))
            if plan["paired"] and part >= TOGETHER:
                first = firsts[0]
            firsts.append(first)
            played = self._play(waveform[first * hop_length :], speed)
            stems[int(part >= TOGETHER)] += played @ plan["matrices"][part].T
        vocals, accompaniment = _reverberate(stems[0], plan, self._stft.sample_rate), stems[1]
        if not plan["paired"]:
            vocals *= level(accompaniment) / level(vocals) * 10 ** (plan["vocals_db"] / 20)
        stems = np.stack([vocals, accompaniment]) * plan["heard"][:, None, None]
        if plan["mono"]:
            stems = np.broadcast_to(stems.mean(axis=2, keepdims=True), stems.shape)
        backings = range(TOGETHER, len(plan["parts"]), TOGETHER)
        playing = [part for part in backings if plan["parts"][part] != NOTHING]
        lead = playing[0] if playing and not plan["heard"][0] else 0
        return {
            "stems": stems.astype(np.float32),
            "gains": plan["gains"],
            "num_frames": np.int32(self._frames),
            "record": np.int32(plan["parts"][lead]),
            "first_frame": np.int32(firsts[lead]),
            "swapped": np.int32(0),
        }

    def _read(self, record: int) -> np.ndarray:
        return self._codec.decode(self._source[record])["waveform"]

    def _play(self, waveform: np.ndarray, speed: int) -> np.ndarray:
        """Plays int16 `[samples, channels]` from its beginning; silence follows its end."""
        part = waveform[: num_played(self._samples, speed)].astype(np.float32) / INT16_SCALE
        if speed != SPEED_STEPS and len(part):
            part = soxr.resample(part, speed, SPEED_STEPS, quality="MQ")
        return np.pad(part[: self._samples], ((0, max(0, self._samples - len(part))), (0, 0)))


def num_samples(frames: int, dataset: Dataset) -> int:
    """Counts the samples of a mixture."""
    return (frames - 1) * dataset.stft.hop_length + dataset.stft.n_fft


def num_played(samples: int, speed: Any) -> Any:
    """Counts the samples of a record that become `samples` at a speed, in parts of one."""
    return (samples * speed + SPEED_STEPS // 2) // SPEED_STEPS


def level(waveform: np.ndarray) -> float:
    """Returns the root mean square of what isn't a pause; at least `QUIETEST`."""
    whole = waveform[: len(waveform) // LEVEL_FRAME * LEVEL_FRAME]
    energies = np.square(whole).reshape(-1, LEVEL_FRAME * waveform.shape[1]).mean(axis=1)
    sounding = energies[energies > PAUSE * energies.max(initial=0.0)]
    return max(QUIETEST, float(np.sqrt(sounding.mean()))) if len(sounding) else QUIETEST


def _reverberate(waveform: np.ndarray, plan: Plan, sample_rate: int) -> np.ndarray:
    """Adds a tail, where one is planned: the waveform convolved with fading noise.

    Reference: Moorer, About this reverberation business, 1979 (a room's response is much like
    noise that fades exponentially).
    """
    if plan["reverb_db"] == -np.inf:
        return waveform
    times = np.arange(round(float(plan["reverb_seconds"]) * sample_rate)) / sample_rate
    rng = np.random.default_rng(int(plan["reverb_seed"]))
    noise = rng.normal(size=(len(times), waveform.shape[1]))
    noise *= 10 ** (-3 * times / plan["reverb_seconds"])[:, None]
    noise *= 10 ** (plan["reverb_db"] / 20) / np.linalg.norm(noise, axis=0)
    tail = scipy.signal.oaconvolve(waveform, noise.astype(np.float32), axes=0)
    return waveform + tail[: len(waveform)]
