"""Ways to separate that can be scored beside each other: models, and what bounds any masker."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence

import jax.numpy as jnp
import numpy as np
import soxr

from jaxsep.collections.source import Song, Source, Track, TrackError, has_rest
from jaxsep.models.files import Model
from jaxsep.models.load import load_model
from jaxsep.separation.separator import Separator
from jaxsep.separation.song_record import digest_of
from jaxsep.spectrogram import istft, stft
from jaxsep.stems import COMPLEMENT, complements
from jaxsep.stft_config import StftConfig

MIXTURE, IDEAL, IDEAL_COMPLEX = "mixture", "ideal ratio mask", "ideal complex mask"
PAIR = ("vocals", "accompaniment")
SILENCE = 1e-9  # magnitude that stands for none, where there would be a division by 0


@dataclasses.dataclass(frozen=True)
class Recording:
    """A song and the truth about it; float32 `[samples, channels]` each.

    Attributes:
      mixture: What a separator hears.
      stems: True stems, by name.
      sample_rate: Sample rate in Hz.
      rest: What the mixture has beside these stems; None if nothing.
    """

    mixture: np.ndarray
    stems: dict[str, np.ndarray]
    sample_rate: int
    rest: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Method:
    """A way to separate.

    Attributes:
      name: Name in the tables, and of its folder.
      identity: What tells it from others of that name, such as a model's checksum.
      separate: Function from a recording to estimates of its stems.
    """

    name: str
    identity: str
    separate: Callable[[Recording], Mapping[str, np.ndarray]]


def default_stems(models: Mapping[str, str]) -> tuple[str, ...]:
    """Returns the stems to score where none are named.

    Args:
      models: Workdirs or checkpoints, by the name in the tables.

    Returns:
      Vocals and accompaniment if all models have these; else the targets of the first, and
      beside a single one what it leaves.

    Raises:
      ValueError: A model has a baseline's name.
      jaxsep.models.files.ModelError: There is no model at one of the paths.
    """
    _check_names(models)
    targets = [load_model(path).masker.targets for path in models.values()]
    if all("vocals" in names for names in targets):
        return PAIR
    first = targets[0]
    return first if len(first) > 1 else (*first, COMPLEMENT.format(*first))


def make_methods(
    models: Mapping[str, str], *, stems: Sequence[str] = PAIR, wiener_iterations: int = 0
) -> list[Method]:
    """Returns the baselines and the models: first the mixture, last the ideal masks.

    Args:
      models: Workdirs or checkpoints, by the name in the tables.
      stems: Stems to score.
      wiener_iterations: Wiener filter iterations of the models, see `Separator`.

    Raises:
      ValueError: A model has a baseline's name, or not these stems; the iterations are negative.
      jaxsep.models.files.ModelError: There is no model at one of the paths.
    """
    _check_names(models)
    methods, ideals = [unprocessed()], {}
    for name, path in models.items():
        model = load_model(path)
        identity = identify(model)
        if wiener_iterations:
            identity += f", wiener_iterations {wiener_iterations}"
        try:
            separator = Separator(
                model.masker, model.variables, stems=stems, wiener_iterations=wiener_iterations
            )
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        methods.append(Method(name, identity, functools.partial(_separate, separator)))
        for ideal in ideal_masks(separator.stft, is_complex=model.masker.traits.answers != "real"):
            ideals[ideal.name] = ideal
    return [*methods, *ideals.values()]


def _check_names(models: Iterable[str]) -> None:
    for name in models:
        if name.startswith((MIXTURE, IDEAL, IDEAL_COMPLEX)):
            raise ValueError(f"the model name {name!r} is a baseline's; give it another")


def identify(model: Model) -> str:
    """Tells a model from all others, by its masker and its arrays, wherever it was loaded from."""
    return f"step {model.info.step}, sha256 {digest_of(model.masker, model.variables)[:16]}"


def _separate(separator: Separator, recording: Recording) -> dict[str, np.ndarray]:
    return separator(recording.mixture, recording.sample_rate)


def unprocessed() -> Method:
    """Takes the mixture for each stem: what doing nothing scores."""
    return Method(MIXTURE, "", lambda song: dict.fromkeys(song.stems, song.mixture))


def ideal_masks(config: StftConfig, *, is_complex: bool) -> list[Method]:
    """Returns the ideal ratio mask at a transform, and the complex one where a model has such."""
    return [ideal_mask(config), *([ideal_mask(config, is_complex=True)] if is_complex else [])]


def ideal_mask(config: StftConfig, *, is_complex: bool = False) -> Method:
    """Masks with what is known from the true stems.

    The real mask of a stem is its magnitude over the sum of the magnitudes of all stems and of the
    rest. It stands for the best that masking magnitudes at this transform can give. The complex one
    is the stem's spectrum over the mixture's, where that is at most 1 in size: what can be had by
    turning phases without making any bin louder.

    Args:
      config: Transform; a song of another sample rate is resampled and back. The number of
        channels doesn't matter.
      is_complex: Whether the masks are complex.
    """

    def separate(recording: Recording) -> dict[str, np.ndarray]:
        rates = (recording.sample_rate, config.sample_rate)
        channels: dict[str, list[np.ndarray]] = {stem: [] for stem in recording.stems}
        for channel in range(recording.mixture.shape[1]):  # one by one, for the memory
            rest = [] if recording.rest is None else [recording.rest]
            parts = (recording.mixture, *recording.stems.values(), *rest)
            waves = [soxr.resample(part[:, channel], *rates)[:, None] for part in parts]
            # To whole hops, for frames that overlap by half alone.
            behind = -len(waves[0]) % config.hop_length
            waves = [np.pad(wave, ((0, behind), (0, 0))) for wave in waves]
            mixture, *stems = (stft(jnp.asarray(wave), config) for wave in waves)
            total = jnp.maximum(sum(map(jnp.abs, stems)), SILENCE)
            for name, spectrum in zip(channels, stems, strict=False):  # the rest comes last
                if is_complex:
                    mask = spectrum / jnp.where(mixture == 0, SILENCE, mixture)
                    mask = mask / jnp.maximum(1, jnp.abs(mask))
                else:
                    mask = jnp.abs(spectrum) / total
                wave = np.asarray(istft(mask * mixture, config, length=len(waves[0])))[:, 0]
                wave = soxr.resample(wave, config.sample_rate, recording.sample_rate)
                channels[name].append(_fit(wave, len(recording.mixture)))
        estimates = {name: np.stack(waves, axis=1) for name, waves in channels.items()}
        if tuple(estimates) == PAIR:
            estimates["accompaniment"] = recording.mixture - estimates["vocals"]
        return estimates

    kind = IDEAL_COMPLEX if is_complex else IDEAL
    name = f"{kind} {config.sample_rate} Hz {config.n_fft} {config.hop_length}"
    return Method(name, "", separate)


def _fit(wave: np.ndarray, length: int) -> np.ndarray:
    """Cuts or extends by the few samples that a change of rate rounds away."""
    return np.pad(wave[:length], (0, max(0, length - len(wave))))


def load(source: Source, track: Track, stems: Sequence[str] = PAIR) -> Recording:
    """Reads a track and what is true about it.

    The true accompaniment is the stem of that name or the sum of drums, bass and other; where these
    aren't complete it is the mixture without the vocals. `no_NAME` is the mixture without a stem.
    The mixture is the released one if there is one, else the sum of all stems.

    Args:
      source: Collection of the track.
      track: Track to read.
      stems: Stems whose truth is wanted.

    Returns:
      The song, with those of the stems that it has: one at least.

    Raises:
      TrackError: It can't be used.
    """
    song = source.load(track)
    truth = dict(song.stems)
    if "accompaniment" in stems:
        truth["vocals"], truth["accompaniment"] = _divide(song)
    parts = [truth[stem] for stem in PAIR if stem in truth]
    parts = parts if "accompaniment" in truth else list(truth.values())
    waves = [*parts, *truth.values(), *([] if song.mixture is None else [song.mixture])]
    if len({wave.shape for wave in waves}) > 1:
        raise TrackError("stems differ in length or channels; make them equal")
    mixture = np.sum(parts, axis=0) if song.mixture is None else song.mixture
    if not len(mixture):
        raise TrackError("is empty")
    left = {stem: of for stem, of in complements(tuple(truth)).items() if stem in stems}
    truth |= {stem: mixture - truth[of] for stem, of in left.items()}
    found = {stem: truth[stem] for stem in stems if stem in truth}
    if not found:
        raise TrackError(f"has no stem {stems[0]!r}, only {', '.join(sorted(song.stems))}")
    rest = None
    if not left and has_rest(song, stems):
        rest = mixture - sum(found.values())
    return Recording(mixture, found, song.sample_rate, rest)


def _divide(song: Song) -> tuple[np.ndarray, np.ndarray]:
    stems = dict(song.stems)
    vocals = stems.pop("vocals", None)
    if vocals is None:
        there = ", ".join(sorted(stems))
        raise TrackError(f"has no stem 'vocals', only {there}; no_NAME is the song without one")
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
