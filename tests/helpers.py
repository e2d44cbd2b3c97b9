"""What tests of several rooms share: small data sets, configs and batches."""

import dataclasses
import importlib
import math
from pathlib import Path

import av
import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from flax import linen as nn

from jaxsep import models, sharding
from jaxsep.audio.reader import AudioReader
from jaxsep.collections.built_in_band import BuiltInBand
from jaxsep.collections.source import Song, Track
from jaxsep.models.files import ModelInfo, save_model
from jaxsep.models.load import load_model
from jaxsep.models.masker import Traits
from jaxsep.models.openunmix import OpenUnmixMasker
from jaxsep.preparation.examples import Settings
from jaxsep.preparation.prepare import prepare
from jaxsep.stft_config import StftConfig
from jaxsep.training import health

TINY_STFT = StftConfig(sample_rate=8000, channels=2, n_fft=256, hop_length=64)


def tiny_band(num_tracks: int = 4) -> BuiltInBand:
    return BuiltInBand(num_tracks, seed=1, duration=5.0, sample_rate=8000)


def tiny_settings(**changes) -> Settings:
    fields = {
        "stft": TINY_STFT,
        "targets": ("vocals", "accompaniment"),
        "segment_frames": TINY_STFT.frames_in(2.0),
        "remixes": 0,
        "seed": 0,
    }
    return Settings(**{**fields, **changes})


def tiny_config(dataset, recipe: str = "lstm", **changes):
    config = importlib.import_module(f"configs.{recipe}").get_config()
    config.update(
        data_dir=str(dataset.path), num_train_steps=6, batch_size=2, crop_frames=32, warmup_steps=1
    )
    config.update(eval_every_steps=3, log_every_steps=1)
    config.model.hidden_size = 8
    config.update_from_flattened_dict(changes)
    return config


RATE = TINY_STFT.sample_rate


@dataclasses.dataclass(frozen=True)
class Tones:
    """Four singers and four bands that never met, a tone each; silent in the third second."""

    stems: tuple[str, ...] = ("vocals", "accompaniment")
    amplitude: float = 0.1
    vocals_gain: float = 1.0
    held_out: str | tuple[str, ...] = "3"  # what names in validation end with
    name: str = "tones"
    licence: str = "free"
    root: None = None

    def tracks(self) -> list[Track]:
        names = [f"{stem}-{number}" for stem in self.stems for number in range(4)]
        return [
            Track(name, "validation" if name.endswith(self.held_out) else "train", 4.0)
            for name in names
        ]

    def load(self, track: Track) -> Song:
        stem, number = track.name.split("-")
        times = np.arange(4 * RATE) / RATE
        wave = self.amplitude * np.sin(2 * np.pi * 300 * (1 + int(number)) * times)
        wave[2 * RATE : 3 * RATE] = 0
        wave *= self.vocals_gain if stem == "vocals" else 1
        return Song({stem: np.stack([wave, wave], axis=1).astype(np.float32)}, None, RATE)


def prepare_waveforms(source, folder, **changes):
    settings = tiny_settings(representation="waveform", segment_frames=125, **changes)
    return prepare(source, folder, settings, workers=1)


def batch_of(examples: int = 4, frames: int = 10):
    rng = np.random.default_rng(0)
    shape = (examples, frames, TINY_STFT.channels, TINY_STFT.bins)
    mixture, target, rest = (jnp.asarray(x, jnp.float16) for x in rng.gamma(1.0, 2.0, (3, *shape)))
    batch = {"mixture": mixture, "targets": target[:, None], "rests": rest[:, None]}
    counts = {name: jnp.arange(examples, dtype=jnp.int32) for name in health.ORIGIN}
    return {**batch, **counts, "num_frames": jnp.full(examples, frames, jnp.int32)}


class TinyComplexMasker(nn.Module):
    """Sees complex spectra and answers complex masks, frame by frame."""

    stft: StftConfig
    targets: tuple[str, ...] = ("vocals",)
    hidden_size: int = 8
    dtype: jnp.dtype = jnp.float32

    traits = Traits(sees="spectrum", answers="complex")

    def initial_carry(self, batch: int) -> jax.Array:
        return jnp.zeros((batch, 2))

    @nn.compact
    def __call__(self, spectrum, carry, *, valid=None):
        del valid
        frames, shape = spectrum.shape[:2], (len(self.targets), *spectrum.shape[2:])
        x = jnp.stack([spectrum.real, spectrum.imag], axis=-1).reshape(*frames, -1)
        x = x / (jnp.sqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True)) + 1e-6)
        x = nn.tanh(nn.Dense(self.hidden_size, dtype=self.dtype, name="dense")(x))
        x = nn.Dense(2 * math.prod(shape), dtype=self.dtype, name="mask")(x)
        x = x.astype(jnp.float32).reshape(*frames, *shape, 2)
        return jnp.moveaxis(x[..., 0] + 1j * x[..., 1], 2, 1), carry

    def with_statistics(self, variables, statistics):
        del statistics
        return variables

    def only(self, targets):
        del targets
        return self


def tiny_model(folder, targets, name: str = "mlp") -> Path:
    """Writes a model that wasn't trained."""
    masker = models.create(name, TINY_STFT, targets=list(targets), hidden_size=8)
    fields = {"name": name, "targets": list(targets), "hidden_size": 8}
    info = ModelInfo(masker=fields, stft=TINY_STFT)
    save_model(folder, info, models.init(masker, jax.random.key(0)))
    return Path(folder)


def raise_at_step(number: int):
    """Returns a `to_global_batch` that fails at its nth call."""
    assemble, calls = sharding.to_global_batch, []

    def disturb(batch, mesh):
        calls.append(batch)
        if len(calls) == number:
            raise RuntimeError("killed")
        return assemble(batch, mesh)

    return disturb


def restored(folder, step: int):
    model = load_model(epath.Path(folder) / "checkpoints" / str(step))
    return jax.tree.map(np.asarray, model.variables)


# Fields of a small Open-Unmix.
TINY_OPENUNMIX = {"hidden_size": 8, "num_layers": 2, "low_bins": 100}


def random_arrays(masker: OpenUnmixMasker, seed: int = 0) -> dict[str, np.ndarray]:
    """Makes weights as the package has them."""
    rng = np.random.default_rng(seed)
    bins, outputs = masker.stft.bins, masker.stft.channels * masker.stft.bins
    hidden, units = masker.hidden_size, masker.hidden_size // (1 + masker.bidirectional)
    dense = {
        1: (hidden, masker.stft.channels * masker.low_bins),
        2: (hidden, 2 * hidden),
        3: (outputs, hidden),
    }
    arrays = {}
    for number, shape in dense.items():
        arrays[f"fc{number}.weight"] = rng.normal(0, shape[1] ** -0.5, shape)
        for leaf in ("weight", "running_var"):
            arrays[f"bn{number}.{leaf}"] = rng.uniform(0.5, 2, shape[0])
        for leaf in ("bias", "running_mean"):
            arrays[f"bn{number}.{leaf}"] = rng.normal(0, 0.3, shape[0])
    for layer in range(masker.num_layers):
        for suffix in ("", "_reverse")[: 1 + masker.bidirectional]:
            for name, shape in (("ih", (4 * units, hidden)), ("hh", (4 * units, units))):
                weight = rng.normal(0, shape[1] ** -0.5, shape)
                arrays[f"lstm.weight_{name}_l{layer}{suffix}"] = weight
                arrays[f"lstm.bias_{name}_l{layer}{suffix}"] = rng.normal(0, 0.3, shape[0])
    for place, size in (("input", masker.low_bins), ("output", bins)):
        arrays[f"{place}_scale"] = rng.uniform(0.5, 2, size)
        arrays[f"{place}_mean"] = rng.normal(0, 0.3, size)
    arrays = {name: array.astype("f4") for name, array in arrays.items()}
    counts = {f"bn{number}.num_batches_tracked": np.array(7) for number in dense}
    return {**arrays, **counts}


def settings_of(config: StftConfig) -> dict[str, float]:
    """What Open-Unmix's training writes; its sample rate is a float."""
    return {
        "nfft": config.n_fft,
        "nhop": config.hop_length,
        "sample_rate": float(config.sample_rate),
        "nb_channels": config.channels,
    }


def assert_one_line(errors: str, *words: str) -> None:
    assert errors.count("\n") == 1 and errors.startswith("jaxsep: "), errors
    for word in words:
        assert word in errors


def tones(frequencies, seconds: float = 1.0, rate: int = 44_100) -> np.ndarray:
    """Makes a sine for each channel, float32 `[samples, channels]`."""
    times = np.arange(int(seconds * rate))[:, None] / rate
    return (0.2 * np.sin(2 * np.pi * np.asarray(frequencies) * times)).astype(np.float32)


def frequencies_of(waveform: np.ndarray, rate: int = 44_100) -> list[int]:
    """Returns the loudest frequency of each channel, rounded to 20 Hz."""
    peaks = np.abs(np.fft.rfft(waveform, axis=0)).argmax(axis=0) * rate / len(waveform)
    return [int(20 * round(peak / 20)) for peak in peaks]


def encode(path: Path, *tracks, codec: str, rate: int = 44_100, layout: str = "stereo", **options):
    """Writes a file with FFmpeg.

    Args:
      path: Path of the file.
      tracks: Of each audio track the disposition and the blocks: a time in seconds and float32
        `[samples, channels]`. A waveform alone stands for one block at time 0.
      options: Of the file format.
    """
    tracks = [(0, [(0.0, it)]) if isinstance(it, np.ndarray) else it for it in tracks]
    with av.open(str(path), "w", options=options) as container:
        streams = [container.add_stream(codec, rate=rate, layout=layout) for _ in tracks]
        dispositions, sounds = zip(*tracks, strict=True)
        for stream, disposition in zip(streams, dispositions, strict=True):
            stream.disposition = disposition
        for stream, blocks in zip(streams, sounds, strict=True):
            for start, waveform in blocks:
                for offset in range(0, len(waveform), 1024):
                    block = np.ascontiguousarray(waveform[offset : offset + 1024]).reshape(1, -1)
                    frame = av.AudioFrame.from_ndarray(block, format="flt", layout=layout)
                    frame.sample_rate, frame.pts = rate, round(start * rate) + offset
                    container.mux(stream.encode(frame))
            container.mux(stream.encode(None))


def read_all(path: Path, **options) -> tuple[np.ndarray, list[str]]:
    """Returns the samples of a file, and what there was to note about it."""
    with AudioReader(path, **options) as reader:
        blocks = list(reader.blocks(10_000))
        return np.concatenate(blocks), reader.notes
