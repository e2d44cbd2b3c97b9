"""Makes mixtures on the device, from a split's waveforms that lie in its memory.

The host draws the plans alone (`jaxsep.data.mixing`): an accelerator needn't wait for files,
resampling and rooms.
"""

import functools

import grain
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxsep.data.mixer import LEVEL_FRAME, PAUSE, QUIETEST, num_played, num_samples
from jaxsep.data.mixing import NOTHING, REVERB_SECONDS, SPEED_STEPS, TOGETHER, Mixing
from jaxsep.data.records import INT16_SCALE, WAVEFORM, Dataset
from jaxsep.data.tfrecord import RecordSource
from jaxsep.sharding import batch_sharding, replicated

TAPS = 16  # samples that one is interpolated from
KAISER_BETA = 6.0  # of the interpolation's window
READ_OPTIONS = grain.ReadOptions(num_threads=8, prefetch_buffer_size=16)

Bank = dict[str, jax.Array]


class DeviceMixer:
    """Makes batches of mixtures of a split's records.

    What it makes is what `jaxsep.data.mixer.Mixer` does of the same plans, but for the noise of a
    room and for what a shorter filter resamples differently.

    Args:
      dataset: of waveforms.
      split: its waveforms are put into each device's memory: 176 kB a second of stereo at 44.1 kHz,
        where each record takes as much as a whole segment.
      frames: of a mixture's magnitudes.
      mixing: how it is mixed: what is never varied costs nothing.
      mesh: the batch is spread over it.

    Raises:
      ValueError: if it can't be mixed so, see `check_mixing`.
    """

    def __init__(self, dataset: Dataset, split: str, *, frames: int, mixing: Mixing, mesh: Mesh):
        check_mixing(dataset, frames, mixing)
        samples = num_samples(frames, dataset)
        self._bank = {
            # Unlike device_put, this doesn't compare what the processes have, gigabytes each.
            name: jax.make_array_from_callback(x.shape, replicated(mesh), x.__getitem__)
            for name, x in _read(dataset, split).items()
        }
        play = functools.partial(_play, dataset, samples, mixing.speed != 1, mixing.reverb > 0)
        everywhere, spread = replicated(mesh), batch_sharding(mesh)
        self._play = jax.jit(play, in_shardings=(everywhere, spread), out_shardings=spread)

    def __call__(self, plans: dict[str, jax.Array]) -> dict[str, jax.Array]:
        """Makes mixtures of plans, spread over the mesh; see `jaxsep.data.mixer.Mixer.play`."""
        return self._play(self._bank, plans)


def check_mixing(dataset: Dataset, frames: int | None, mixing: Mixing) -> None:
    """Checks what `DeviceMixer` is given.

    Args:
      dataset: of waveforms.
      frames: of a mixture; None: of a whole segment.
      mixing: how it is mixed.

    Raises:
      ValueError: if the data set isn't of waveforms; or a mixture is longer than 47 seconds at 44.1
        kHz, less when it is played faster: places are counted in parts of a sample.
    """
    if dataset.representation != WAVEFORM:
        raise ValueError("mix_on_device needs a data set made with --representation=waveform")
    segment_frames = dataset.manifest["settings"]["segment_frames"]
    longest = segment_frames if frames is None else min(frames, segment_frames)
    fastest = 1.01 * mixing.speed  # speeds are rounded
    if num_samples(longest, dataset) * fastest * SPEED_STEPS >= 2**31:
        raise ValueError(f"crop_frames={longest} is too long for mix_on_device; use a smaller one")


def _read(dataset: Dataset, split: str) -> dict[str, np.ndarray]:
    """Reads all records: `waveforms`, int16 `[records, samples, channels]`, and `lengths`."""
    source = RecordSource(dataset.shards(split))
    settings = dataset.manifest["settings"]
    longest = settings["segment_frames"] * dataset.stft.hop_length
    waveforms = np.zeros((len(source), longest, dataset.stft.channels), np.int16)
    lengths = np.zeros(len(source), np.int32)
    decoded = grain.MapDataset.source(source).map(dataset.codec.decode)
    for number, example in enumerate(decoded.to_iter_dataset(READ_OPTIONS)):
        lengths[number] = len(example["waveform"])
        waveforms[number, : lengths[number]] = example["waveform"]
    return {"waveforms": waveforms, "lengths": lengths}


def _play(
    dataset: Dataset,
    samples: int,
    varies_speed: bool,
    has_rooms: bool,
    bank: Bank,
    plans: dict[str, jax.Array],
) -> dict[str, jax.Array]:
    stems, firsts = jax.vmap(
        functools.partial(_play_one, bank, samples, dataset.stft.hop_length, varies_speed)
    )(plans)
    vocals, accompaniment = stems[:, 0], stems[:, 1]
    if has_rooms:
        vocals = jax.vmap(functools.partial(_reverberate, dataset.stft.sample_rate))(vocals, plans)
    gain = _level(accompaniment) / _level(vocals) * 10 ** (plans["vocals_db"] / 20)
    vocals *= jnp.where(plans["paired"], 1.0, gain)[:, None, None]
    stems = jnp.stack([vocals, accompaniment], axis=1) * plans["heard"][:, :, None, None]
    is_mono = plans["mono"][:, None, None, None]
    stems = jnp.where(is_mono, jnp.mean(stems, axis=3, keepdims=True), stems)
    plays = plans["parts"][:, TOGETHER::TOGETHER] != NOTHING
    leads_backing = ~plans["heard"][:, 0] & jnp.any(plays, axis=1)
    lead = jnp.where(leads_backing, TOGETHER * (1 + jnp.argmax(plays, axis=1)), 0)[:, None]
    zeros = jnp.zeros(len(stems), jnp.int32)
    stft = dataset.stft
    frames = (samples - stft.n_fft) // stft.hop_length + 1
    return {
        "stems": stems,
        "gains": plans["gains"],
        "num_frames": zeros + frames,
        "record": jnp.take_along_axis(plans["parts"], lead, axis=1)[:, 0],
        "first_frame": jnp.take_along_axis(firsts, lead, axis=1)[:, 0],
        "swapped": zeros,
    }


def _play_one(
    bank: Bank, samples: int, hop_length: int, varies_speed: bool, plan: dict[str, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    """Plays one plan's parts.

    Returns:
      Voices and backings, float32 `[2, samples, channels]`; and int32 `[parts]`, the hops that the
      parts begin with.
    """
    stems = jnp.zeros((2, samples, bank["waveforms"].shape[2]))
    firsts: list[jax.Array] = []
    for part in range(plan["parts"].shape[0]):
        record, speed = jnp.maximum(plan["parts"][part], 0), plan["speeds"][part]
        spare = bank["lengths"][record] - num_played(samples, speed)
        latest = jnp.maximum(0, spare) // hop_length
        first = jnp.floor(plan["places"][part] * (latest + 1)).astype(jnp.int32)
        first = jnp.minimum(first, latest)
        if part >= TOGETHER:
            first = jnp.where(plan["paired"], firsts[0], first)
        firsts.append(first)
        start = first * hop_length
        if varies_speed:
            played = _resample(bank["waveforms"], record, start, speed, samples)
        else:
            played = _cut(bank["waveforms"], record, start, samples)
        played = jnp.matmul(played / INT16_SCALE, plan["matrices"][part].T, precision="highest")
        stems = stems.at[int(part >= TOGETHER)].add(played)
    return stems, jnp.stack(firsts)


def _cut(waveforms: jax.Array, record: jax.Array, start: jax.Array, samples: int) -> jax.Array:
    """Returns float32 `[samples, channels]` of a record; silence follows its end."""
    positions = start + jnp.arange(samples)
    return waveforms.at[record, positions].get(mode="fill", fill_value=0).astype(jnp.float32)


def _resample(
    waveforms: jax.Array, record: jax.Array, start: jax.Array, speed: jax.Array, samples: int
) -> jax.Array:
    """Plays a record at a speed, in parts of one; see `_cut`.

    Reference: Smith and Gossett, A flexible sampling-rate conversion method, 1984 (a windowed sinc,
    tabulated). What a speed above 1 raises past half the sampling rate comes back as an alias: at
    1.2 and 44.1 kHz, what was above 18.4 kHz.
    """
    steps = jnp.arange(samples) * speed
    table, phases = jnp.asarray(_interpolation()), steps % SPEED_STEPS
    positions = start + steps // SPEED_STEPS - (TAPS // 2 - 1)
    total = jnp.zeros((samples, waveforms.shape[2]))
    for tap in range(TAPS):
        # Negative positions would count from the end.
        at = jnp.where(positions + tap < start, waveforms.shape[1], positions + tap)
        value = waveforms.at[record, at].get(mode="fill", fill_value=0)
        total += table[phases, tap][:, None] * value
    return total


@functools.cache
def _interpolation() -> np.ndarray:
    """Returns the weights of the samples around a place between two, float32 `[phases, taps]`."""
    offsets = np.arange(TAPS) - (TAPS // 2 - 1)
    distances = offsets - np.arange(SPEED_STEPS)[:, None] / SPEED_STEPS
    inside = np.clip(1 - np.square(distances / (TAPS // 2)), 0, None)
    weights = np.sinc(distances) * np.i0(KAISER_BETA * np.sqrt(inside)) * (inside > 0)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _level(waveforms: jax.Array) -> jax.Array:
    """Returns each waveform's level, `[batch]`; see `jaxsep.data.mixer.level`."""
    batch, samples, channels = waveforms.shape
    whole = waveforms[:, : samples // LEVEL_FRAME * LEVEL_FRAME]
    frames = jnp.square(whole).reshape(batch, -1, LEVEL_FRAME * channels)
    energies = jnp.mean(frames, axis=2)
    sounding = energies > PAUSE * jnp.max(energies, axis=1, keepdims=True, initial=0.0)
    mean = jnp.sum(energies * sounding, axis=1) / jnp.maximum(jnp.sum(sounding, axis=1), 1)
    return jnp.maximum(QUIETEST, jnp.sqrt(mean))


def _reverberate(sample_rate: int, waveform: jax.Array, plan: dict[str, jax.Array]) -> jax.Array:
    """Adds a tail, where one is planned; see `jaxsep.data.mixer`."""
    times = jnp.arange(round(REVERB_SECONDS[1] * sample_rate)) / sample_rate
    key = jax.random.key(plan["reverb_seed"])
    noise = jax.random.normal(key, (len(times), waveform.shape[1]))
    seconds = plan["reverb_seconds"]
    fading = jnp.where(times < seconds, 10 ** (-3 * times / seconds), 0)
    noise *= fading[:, None]
    noise *= 10 ** (plan["reverb_db"] / 20) / jnp.linalg.norm(noise, axis=0)
    size = 2 ** (len(waveform) + len(noise) - 1).bit_length()
    spectrum = jnp.fft.rfft(waveform, size, axis=0) * jnp.fft.rfft(noise, size, axis=0)
    return waveform + jnp.fft.irfft(spectrum, size, axis=0)[: len(waveform)]
