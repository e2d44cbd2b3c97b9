"""What a masker does to the parts of a song, exactly: masking is linear.

With the mask M of a mixture X = V + D + B + ... the estimate M X is M V + M D + M B + ...: the
voice that is kept, and what leaks of drums, bass and the rest; (1 - M) V is the voice that is lost.
"""

import jax.numpy as jnp
import numpy as np

from jaxsep.collections.source import Source, Track
from jaxsep.evaluation.methods import load
from jaxsep.separation.separator import Separator
from jaxsep.spectrogram import stft


def look_at_masks(separator: Separator, source: Source, tracks: list[Track]) -> dict[str, float]:
    """Measures a separator's masks on songs with known stems.

    Returns:
      Means over the tracks that have a voice, and the stem if it is about one, by name:
      `passed STEM`: energy of the masked stem over the stem's, dB;
      `leaked STEM`: energy of the masked stem over the true voice's, dB;
      `lost`: energy of the voice that the mask takes away over the voice's, dB;
      `flicker`: mean change of the mask from frame to frame, weighted with the mixture's
      magnitude (0 to 1); `ideal flicker`: the same of the ideal ratio mask.
    """
    rows = [_look(separator, source, track) for track in tracks]
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: float(np.mean([row[name] for row in rows if name in row])) for name in names}


def _look(separator: Separator, source: Source, track: Track) -> dict[str, float]:
    recording, stems = load(source, track), source.load(track).stems

    def spectrogram(waveform: np.ndarray) -> np.ndarray:
        own = separator.to_format(waveform, recording.sample_rate)
        return np.asarray(stft(jnp.asarray(own), separator.stft))

    voice = np.abs(spectrogram(recording.stems["vocals"]))
    if not voice.any():
        return {}
    mixture_in_format = separator.to_format(recording.mixture, recording.sample_rate)
    mask = separator.masks(mixture_in_format)["vocals"]
    rest = np.abs(spectrogram(recording.stems["accompaniment"]))
    mixture = np.abs(spectrogram(recording.mixture))
    ideal = voice / np.maximum(voice + rest, 1e-9)
    numbers = {
        "lost": _decibels((1 - mask) * voice, voice),
        "flicker": _flicker(mask, mixture),
        "ideal flicker": _flicker(ideal, mixture),
    }
    parts = {name: wave for name, wave in stems.items() if np.any(wave)}
    for name, wave in ({"accompaniment": recording.stems["accompaniment"]} | parts).items():
        magnitude = np.abs(spectrogram(wave))
        numbers[f"passed {name}"] = _decibels(mask * magnitude, magnitude)
        if name != "vocals":
            numbers[f"leaked {name}"] = _decibels(mask * magnitude, voice)
    return numbers


def _decibels(part: np.ndarray, whole: np.ndarray) -> float:
    return float(10 * np.log10(max(np.vdot(part, part), 1e-12) / np.vdot(whole, whole)))


def _flicker(mask: np.ndarray, weight: np.ndarray) -> float:
    return float(np.sum(weight[1:] * np.abs(np.diff(mask, axis=0))) / np.sum(weight[1:]))
