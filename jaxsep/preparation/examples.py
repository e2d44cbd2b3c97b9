"""From a song's waveforms to the segments of a data set; `--remixes` are made here too."""

import dataclasses
import hashlib
from collections.abc import Iterator

import librosa
import numpy as np
import soxr

from jaxsep.collections.source import Song, TrackError, has_rest
from jaxsep.data.mix_plan import SPEED_STEPS, draw_matrices, draw_speeds
from jaxsep.data.mixing import UNVARIED
from jaxsep.data.records import INT16_SCALE, MAGNITUDE, PAIR, WAVEFORM, rest_of
from jaxsep.stems import RESIDUAL
from jaxsep.stft_config import StftConfig

REMIX_GAINS = (0.25, 1.25)
# Playing faster raises pitch and formants, so another speed sounds like another singer.
REMIXING = dataclasses.replace(UNVARIED, paired=0.0, speed=1.25, flip=True)
SILENCE = 10 ** (-60 / 20)  # root mean square up to which a segment isn't stored as waveform
MAGNITUDE_LIMIT = float(np.finfo(np.float16).max)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a data set's examples look like.

    Attributes:
      stft: Format and transform of the magnitudes.
      targets: Stems to store: as magnitudes, beside the mixture's and those of their rests; or as
        waveforms, beside what else a song has (`residual`).
      segment_frames: Length of an example; a track's last one is shorter.
      remixes: Number of further passes over the training tracks, with vocals and accompaniment of
        different tracks.
      seed: Seed of the remixes.
      representation: One of `records.REPRESENTATIONS`.
      length_tolerance: Samples, at the song's own rate, by which its stems may differ in length.
        They begin together; the ends of the longer ones are cut off.
    """

    stft: StftConfig
    targets: tuple[str, ...]
    segment_frames: int
    remixes: int
    seed: int
    representation: str = MAGNITUDE
    length_tolerance: int = 0

    @property
    def rests(self) -> tuple[str, ...]:
        """Names of the rests whose magnitudes are stored too: those that are no target."""
        if self.representation == WAVEFORM:
            return ()
        rests = (rest_of(target, self.targets) for target in self.targets)
        return tuple(rest for rest in rests if rest not in self.targets)


def to_format(song: Song, settings: Settings) -> dict[str, np.ndarray]:
    """Brings a song to the data set's sample rate and channels.

    Returns:
      float32 `[samples, channels]` for `mixture`, the targets and their rests. Always mixture =
      target + rest, and mixture = vocals + accompaniment: where a released mixture is used, the
      accompaniment is what it leaves when the vocals are taken out. A target that the song lacks
      is silent. A data set of waveforms has no rests, and takes songs of one stem as well; what a
      song lacks is missing, and what it has beside the targets is `residual`.

    Raises:
      TrackError: If it has a single stem or none, channels differ, lengths differ by more than the
        settings' tolerance, or it is too loud for float16.
    """
    waveforms = dict(song.stems)
    if song.mixture is not None:
        waveforms["mixture"] = song.mixture
    is_partial = settings.representation == WAVEFORM
    _check_stems(waveforms, is_partial=is_partial)
    waveforms = _equalise_lengths(waveforms, settings.length_tolerance)
    waveforms = {
        name: librosa.resample(
            _to_channels(wave, settings.stft.channels),
            orig_sr=song.sample_rate,
            target_sr=settings.stft.sample_rate,
            axis=0,
        )
        for name, wave in waveforms.items()
    }
    if "mixture" in waveforms and "vocals" in waveforms:
        waveforms["accompaniment"] = waveforms["mixture"] - waveforms["vocals"]
    elif "accompaniment" not in waveforms:
        rest = [wave for name, wave in waveforms.items() if name not in ("mixture", "vocals")]
        if rest:
            waveforms["accompaniment"] = np.sum(rest, axis=0)
    parts = [waveforms[name] for name in PAIR if name in waveforms]
    waveforms.setdefault("mixture", np.sum(parts, axis=0))
    if is_partial:
        return _with_residual(song, waveforms, settings.targets)
    loudest = max(float(np.abs(wave).max()) for wave in waveforms.values())
    limit = MAGNITUDE_LIMIT / settings.stft.full_scale / 2 / max(1, *REMIX_GAINS)
    if loudest > limit:
        raise TrackError(
            f"peaks at {loudest:.3g} times full scale, over {limit:.0f}; scale it down"
        )
    if "vocals" not in waveforms:
        waveforms["accompaniment"] = waveforms["mixture"]
    for target in settings.targets:
        waveforms.setdefault(target, np.zeros_like(waveforms["mixture"]))
    rests = {
        name: waveforms["mixture"] - waveforms[target]
        for target in settings.targets
        if (name := rest_of(target, settings.targets)) in settings.rests
    }
    return {name: waveforms[name] for name in ("mixture", *settings.targets)} | rests


def _with_residual(
    song: Song, waveforms: dict[str, np.ndarray], targets: tuple[str, ...]
) -> dict[str, np.ndarray]:
    """Returns the mixture, the targets that there are, and what else there is as `residual`."""
    found = {name: waveforms[name] for name in targets if name in waveforms}
    if has_rest(song, targets):
        found[RESIDUAL] = waveforms["mixture"] - sum(found.values())
    return {"mixture": waveforms["mixture"], **found}


def _check_stems(waveforms: dict[str, np.ndarray], *, is_partial: bool) -> None:
    if not is_partial and len(waveforms) < 2:
        raise TrackError(f"has {next(iter(waveforms))} alone; give it what sounds beside it")
    if waveforms.keys() == {"mixture"}:
        raise TrackError("has a mixture and no stems")
    channels = {name: wave.shape[1] for name, wave in waveforms.items()}
    if len(set(channels.values())) > 1:
        raise TrackError(f"stems differ in channels: {_join(channels)}; make them equal")


def _equalise_lengths(waveforms: dict[str, np.ndarray], tolerance: int) -> dict[str, np.ndarray]:
    """Cuts the ends of longer stems off."""
    lengths = {name: len(wave) for name, wave in waveforms.items()}
    shortest = min(lengths.values())
    difference = max(lengths.values()) - shortest
    if difference > tolerance:
        raise TrackError(
            f"stems differ in samples: {_join(lengths)}; make them equal, or have"
            f" --length_tolerance={difference} cut the longer ones off at the end"
        )
    if not shortest:
        raise TrackError("is empty")
    return {name: wave[:shortest] for name, wave in waveforms.items()}


def _join(sizes: dict[str, int]) -> str:
    return ", ".join(f"{name} {size}" for name, size in sizes.items())


def _to_channels(waveform: np.ndarray, channels: int) -> np.ndarray:
    if waveform.shape[1] == channels:
        return waveform
    if channels == 1:
        return waveform.mean(axis=1, keepdims=True)
    if waveform.shape[1] == 1:
        return np.repeat(waveform, channels, axis=1)
    raise TrackError(f"has {waveform.shape[1]} channels; {channels} or 1 can be used")


def segment_waveforms(
    waveforms: dict[str, np.ndarray], settings: Settings
) -> Iterator[tuple[float, str, np.ndarray]]:
    """Yields a track's segments: start in seconds, stem, and int16 `[samples, channels]`.

    A track that exceeds full scale anywhere is scaled down as a whole. Silent segments are left
    out.

    Args:
      waveforms: Waveforms of `to_format`; the mixture isn't used.
      settings: Settings of the data set.
    """
    stems = {name: wave for name, wave in waveforms.items() if name != "mixture"}
    peak = max(float(np.abs(wave).max()) for wave in stems.values())
    scale = (INT16_SCALE - 1) / max(1.0, peak)
    length = settings.segment_frames * settings.stft.hop_length
    for start in range(0, len(waveforms["mixture"]), length):
        for name, wave in stems.items():
            part = wave[start : start + length]
            if np.sqrt(np.square(part).mean()) > SILENCE:
                yield (
                    start / settings.stft.sample_rate,
                    name,
                    np.rint(scale * part).astype(np.int16),
                )


def segment_magnitudes(
    waveforms: dict[str, np.ndarray], settings: Settings
) -> Iterator[tuple[float, dict[str, np.ndarray]]]:
    """Yields a track's segments as (start in seconds, float32 `[frames, channels, bins]` each)."""
    for start, length in _segment_bounds(waveforms["mixture"], settings):
        parts = {name: _cut(wave, start, length) for name, wave in waveforms.items()}
        yield _seconds(start, settings), _magnitudes(parts, settings.stft)


def remix_magnitudes(
    track: dict[str, np.ndarray], partner: dict[str, np.ndarray], key: str, settings: Settings
) -> Iterator[tuple[float, dict[str, np.ndarray]]]:
    """Yields like `segment_magnitudes`, with the accompaniment of a partner track.

    Vocals and accompaniment are played at random speeds. In each segment both have a random gain
    (`REMIX_GAINS`) and, by themselves, may have their channels swapped and their polarity inverted;
    the accompaniment is a random part of the partner, silent where that ends.

    Args:
      track: Waveforms of `to_format`, whose vocals are used.
      partner: Waveforms of `to_format`, all of which but the vocals and the mixture are used.
      key: Name of the pass and the track. Together with the settings' seed it decides everything.
      settings: Settings of the data set.
    """
    digest = hashlib.sha256(f"{settings.seed}/{key}".encode()).digest()
    rng = np.random.default_rng(np.frombuffer(digest, np.uint32))
    sung, played = draw_speeds(REMIXING.speed, 2, rng)
    vocals = _play(track["vocals"], sung)
    stems = {
        name: _play(wave, played)
        for name, wave in partner.items()
        if name not in ("mixture", "vocals")
    }
    for start, length in _segment_bounds(vocals, settings):
        latest = max(0, len(stems["accompaniment"]) - length)
        first = int(rng.integers(0, latest, endpoint=True))
        gains = rng.uniform(*REMIX_GAINS, size=(2, 1, 1))
        matrices = gains * draw_matrices(REMIXING, (2,), settings.stft.channels, rng)
        to_vocals, to_stems = matrices.transpose(0, 2, 1).astype(np.float32)
        parts = {name: _cut(wave, first, length) @ to_stems for name, wave in stems.items()}
        parts["vocals"] = _cut(vocals, start, length) @ to_vocals
        parts["mixture"] = parts["vocals"] + parts["accompaniment"]
        parts = {name: parts[name] for name in ("mixture", *settings.targets)}
        yield _seconds(start, settings), _magnitudes(parts, settings.stft)


def _play(waveform: np.ndarray, speed: int) -> np.ndarray:
    """Plays a waveform `[samples, channels]` at a speed of `draw_speeds`."""
    return soxr.resample(waveform, speed, SPEED_STEPS)


def _segment_bounds(waveform: np.ndarray, settings: Settings) -> Iterator[tuple[int, int]]:
    """Yields (first sample, samples) that each segment's frames cover."""
    stft = settings.stft
    frames = stft.num_frames(len(waveform))
    for first in range(0, frames, settings.segment_frames):
        count = min(settings.segment_frames, frames - first)
        yield (
            first * stft.hop_length - stft.n_fft // 2,
            stft.num_samples(count),
        )


def _seconds(start: int, settings: Settings) -> float:
    """Returns the time of a segment's first frame's centre."""
    return (start + settings.stft.n_fft // 2) / settings.stft.sample_rate


def _cut(waveform: np.ndarray, start: int, length: int) -> np.ndarray:
    """Returns `length` samples from `start` on, with zeros beyond the ends."""
    inside = waveform[max(0, start) : max(0, start + length)]
    before = min(length, max(0, -start))
    return np.pad(inside, ((before, length - before - len(inside)), (0, 0)))


def _magnitudes(parts: dict[str, np.ndarray], stft: StftConfig) -> dict[str, np.ndarray]:
    magnitudes = {}
    for name, wave in parts.items():
        spectrum = librosa.stft(
            wave.T,
            n_fft=stft.n_fft,
            hop_length=stft.hop_length,
            win_length=stft.win_length,
            center=False,
        )
        magnitudes[name] = np.abs(spectrum).transpose(2, 0, 1)
    return magnitudes
