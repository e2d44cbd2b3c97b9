"""Ways to separate that can be scored beside each other: models, and what bounds any masker."""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import jax.numpy as jnp
import numpy as np
import soxr

from jaxsep.collections.source import Song, Source, Track, TrackError
from jaxsep.models.files import Model
from jaxsep.models.load import load_model
from jaxsep.separation.separator import STEMS, Separator
from jaxsep.separation.song_record import digest_of
from jaxsep.spectrogram import istft, stft
from jaxsep.stft_config import StftConfig

MIXTURE, IDEAL = "mixture", "ideal ratio mask"


@dataclasses.dataclass(frozen=True)
class Recording:
    """A song and the truth about it; float32 `[samples, channels]` each.

    Attributes:
      mixture: what a separator hears.
      stems: the true vocals and the true accompaniment.
      sample_rate: in Hz.
    """

    mixture: np.ndarray
    stems: dict[str, np.ndarray]
    sample_rate: int


@dataclasses.dataclass(frozen=True)
class Method:
    """A way to separate.

    Attributes:
      name: in the tables, and of its folder.
      identity: what tells it from others of that name, such as a model's checksum.
      separate: from a recording to estimates of its stems.
    """

    name: str
    identity: str
    separate: Callable[[Recording], Mapping[str, np.ndarray]]


def make_methods(models: Mapping[str, str], *, wiener_iterations: int = 0) -> list[Method]:
    """Returns the baselines and the models: first the mixture, last the ideal ratio masks.

    Args:
      models: workdirs or checkpoints, by the name in the tables.
      wiener_iterations: Wiener filter iterations of the models, see `Separator`.

    Raises:
      ValueError: a model has a baseline's name, or no vocals; the iterations are negative.
      jaxsep.models.files.ModelError: there is no model at one of the paths.
    """
    methods, ideals = [unprocessed()], {}
    for name, path in models.items():
        if name.startswith((MIXTURE, IDEAL)):
            raise ValueError(f"the model name {name!r} is a baseline's; give it another")
        model = load_model(path)
        identity = identify(model)
        if wiener_iterations:
            identity += f", wiener_iterations {wiener_iterations}"
        try:
            separator = Separator(
                model.masker, model.variables, stems=STEMS, wiener_iterations=wiener_iterations
            )
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        methods.append(Method(name, identity, functools.partial(_separate, separator)))
        ideal = ideal_ratio_mask(separator.stft)
        ideals[ideal.name] = ideal
    return [*methods, *ideals.values()]


def identify(model: Model) -> str:
    """Tells a model from all others, by its masker and its arrays, wherever it was loaded from."""
    return f"step {model.info.step}, sha256 {digest_of(model.masker, model.variables)[:16]}"


def _separate(separator: Separator, recording: Recording) -> dict[str, np.ndarray]:
    return separator(recording.mixture, recording.sample_rate)


def unprocessed() -> Method:
    """Takes the mixture for each stem: what doing nothing scores."""
    return Method(MIXTURE, "", lambda recording: dict.fromkeys(STEMS, recording.mixture))


def ideal_ratio_mask(config: StftConfig) -> Method:
    """Masks with |vocals| / (|vocals| + |accompaniment|), known from the true stems.

    It stands for the best that masking magnitudes at this transform can give; a mask that also
    knew the phases would do still a little better.

    Args:
      config: the transform; a song of another sample rate is resampled and back. The number of
        channels doesn't matter.
    """

    def separate(recording: Recording) -> dict[str, np.ndarray]:
        rates = (recording.sample_rate, config.sample_rate)
        channels = []
        for channel in range(recording.mixture.shape[1]):  # one by one, for the memory
            parts = (recording.mixture, *(recording.stems[stem] for stem in STEMS))
            waves = [soxr.resample(part[:, channel], *rates)[:, None] for part in parts]
            # To whole hops, for frames that overlap by half alone.
            behind = -len(waves[0]) % config.hop_length
            waves = [np.pad(wave, ((0, behind), (0, 0))) for wave in waves]
            mixture, vocals, accompaniment = (stft(jnp.asarray(wave), config) for wave in waves)
            vocals, accompaniment = jnp.abs(vocals), jnp.abs(accompaniment)
            mask = vocals / jnp.maximum(vocals + accompaniment, 1e-9)
            wave = np.asarray(istft(mask * mixture, config, length=len(waves[0])))[:, 0]
            wave = soxr.resample(wave, config.sample_rate, recording.sample_rate)
            channels.append(_fit(wave, len(recording.mixture)))
        estimate = np.stack(channels, axis=1)
        return {"vocals": estimate, "accompaniment": recording.mixture - estimate}

    name = f"{IDEAL} {config.sample_rate} Hz {config.n_fft} {config.hop_length}"
    return Method(name, "", separate)


def _fit(wave: np.ndarray, length: int) -> np.ndarray:
    """Cuts or extends by the few samples that a change of rate rounds away."""
    return np.pad(wave[:length], (0, max(0, length - len(wave))))


def load(source: Source, track: Track) -> Recording:
    """Reads a track and what is true about it.

    The true accompaniment is the stem of that name or the sum of drums, bass and other; where these
    aren't complete it is the mixture without the vocals. The mixture is the released one if there
    is one, else the sum of all stems.

    Raises:
      TrackError: if it can't be used.
    """
    song = source.load(track)
    vocals, backing = _divide(song)
    mixture = vocals + backing if song.mixture is None else song.mixture
    if len({wave.shape for wave in (mixture, vocals, backing)}) > 1:
        raise TrackError("stems differ in length or channels; make them equal")
    if not len(mixture):
        raise TrackError("is empty")
    return Recording(mixture, {"vocals": vocals, "accompaniment": backing}, song.sample_rate)


def _divide(song: Song) -> tuple[np.ndarray, np.ndarray]:
    stems = dict(song.stems)
    vocals = stems.pop("vocals", None)
    if vocals is None:
        raise TrackError(f"has no stem 'vocals', only {', '.join(sorted(stems))}")
    if "accompaniment" in stems:
        return vocals, stems["accompaniment"]
    parts = list(stems.values())
    if song.mixture is not None and stems.keys() != {"drums", "bass", "other"}:
        parts = [song.mixture, -vocals]
    if not parts:
        raise TrackError("has vocals alone; give it a mixture or an accompaniment")
    if len({part.shape for part in parts}) > 1:
        raise TrackError("stems differ in length or channels; make them equal")
    return vocals, np.sum(parts, axis=0)
