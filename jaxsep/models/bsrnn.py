"""The band-split recurrent masker: it looks along time and along bands, one after the other."""

import itertools
from collections.abc import Iterable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Inexact

from jaxsep.models.band_split import BandMasks, Bands, BandSplit, rms_norm
from jaxsep.models.layers import LevelCarry, Normalise, song_level, with_normalise
from jaxsep.models.lstm import LSTMLayer
from jaxsep.models.lstm_scan import LSTMCarry
from jaxsep.models.masker import Masks, Statistics, Traits, Valid, Variables, Windows
from jaxsep.stft_config import StftConfig

# Windows of a bidirectional masker, as of `lstm`.
WINDOWS = Windows(frames=1024, overlap=256)
# Largest size of a cell state along time, as of `lstm`.
CELL_LIMIT = 256.0
# Bands in Hz: up to the first number they have the width of the second. What is above the last one
# is one more band. `other` has those of `vocals`.
# Reference: Luo and Yu, Music source separation with band-split RNN, 2023.
VOCALS = ((1000, 100), (4000, 250), (8000, 500), (16000, 1000), (20000, 2000))
TABLES = {
    "vocals": VOCALS,
    "drums": ((1000, 50), (2000, 100), (4000, 250), (8000, 500), (16000, 1000)),
    "bass": ((500, 50), (1000, 100), (4000, 500), (8000, 1000), (16000, 2000)),
    "other": VOCALS,
}


def make_bands(table: str, stft: StftConfig) -> Bands:
    """Makes the bands of one of `TABLES` for a transform.

    Bands that would hold no bin, as frames are short, are joined with the next.
    """
    edges, low = [], 0
    for high, width in TABLES[table]:
        edges += range(low + width, high + 1, width)
        low = high
    bins = [round(edge * stft.n_fft / stft.sample_rate) for edge in edges]
    inside = sorted({0, stft.bins, *(edge for edge in bins if 0 < edge < stft.bins - 1)})
    return Bands(tuple(high - low for low, high in itertools.pairwise(inside)))


class AlongTime(nn.Module):
    """An LSTM along time, the same for all bands, beside its input.

    Attributes:
      hidden_size: Units of a direction.
      bidirectional: Whether there is a second direction, back in time.
      dtype: Data type of the matrix products.
    """

    hidden_size: int
    bidirectional: bool
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "frames batch bands features"],
        carry: LSTMCarry,
        valid: Valid | None,
    ) -> tuple[Float[Array, "frames batch bands features"], LSTMCarry]:
        """Maps features to features, and the state `[batch, bands, hidden]` to the next."""
        frames, batch, bands, features = x.shape
        rows = rms_norm(self, "scale", x).reshape(frames, batch * bands, features)
        y, carry = LSTMLayer(
            self.hidden_size * (1 + self.bidirectional),
            self.bidirectional,
            dtype=self.dtype,
            cell_limit=CELL_LIMIT,
            recompute=True,
            name="lstm",
        )(
            jnp.swapaxes(rows, 0, 1),
            jax.tree.map(lambda state: state.reshape(batch * bands, -1), carry),
            valid=None if valid is None else jnp.repeat(valid, bands, axis=0),
        )
        carry = jax.tree.map(lambda state: state.reshape(batch, bands, -1), carry)
        y = nn.Dense(features, dtype=self.dtype, name="out")(jnp.swapaxes(y, 0, 1))
        return x + y.astype(jnp.float32).reshape(x.shape), carry


class AlongBands(nn.Module):
    """A bidirectional LSTM along the bands of each frame, beside its input.

    Attributes:
      hidden_size: Units of a direction.
      dtype: Data type of the matrix products.
    """

    hidden_size: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self, x: Float[Array, "frames batch bands features"]
    ) -> Float[Array, "frames batch bands features"]:
        """Maps features to features."""
        rows = rms_norm(self, "scale", x).reshape(-1, *x.shape[2:])
        zeros = jnp.zeros((len(rows), self.hidden_size))
        lstm = LSTMLayer(2 * self.hidden_size, True, dtype=self.dtype, recompute=True, name="lstm")
        y, _ = lstm(rows, (zeros, zeros))
        y = nn.Dense(x.shape[-1], dtype=self.dtype, name="out")(y)
        return x + y.astype(jnp.float32).reshape(x.shape)


class AcrossBands(nn.Module):
    """Dense layers across the bands of each frame, then across features, beside their inputs.

    Attributes:
      hidden_size: Half the units across the features.
      dtype: Data type of the matrix products.

    Reference: Tolstikhin et al., MLP-Mixer: an all-MLP architecture for vision, 2021.
    """

    hidden_size: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self, x: Float[Array, "frames batch bands features"]
    ) -> Float[Array, "frames batch bands features"]:
        """Maps features to features."""
        # Frame by frame, and once more on the way back: so what lies between stays in a processor's
        # cache.
        mix = nn.scan(
            nn.remat(_MixFrame, prevent_cse=False),
            variable_broadcast="params",
            split_rngs={"params": False},
        )
        return mix(self.hidden_size, self.dtype, name="frame")((), x)[1]


class _MixFrame(nn.Module):
    """Mixes the bands of one frame, see `AcrossBands`."""

    hidden_size: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self, carry: tuple[()], x: Float[Array, "batch bands features"]
    ) -> tuple[tuple[()], Float[Array, "batch bands features"]]:
        _, bands, features = x.shape

        def dense(size: int, name: str) -> nn.Dense:
            return nn.Dense(size, dtype=self.dtype, name=name)

        y = jnp.swapaxes(rms_norm(self, "scale", x), 1, 2)
        y = dense(bands, "bands_out")(nn.gelu(dense(2 * bands, "bands")(y)))
        x = x + jnp.swapaxes(y, 1, 2).astype(jnp.float32)
        y = rms_norm(self, "features_scale", x)
        y = dense(features, "features_out")(nn.gelu(dense(2 * self.hidden_size, "features")(y)))
        return carry, x + y.astype(jnp.float32)


class BSRNNMasker(nn.Module):
    """Splits the spectrum into bands and looks along time, then along bands, in each layer.

    Causal, its state is carried from frame to frame; the bands of a frame always see each other,
    so the latency is the transform's alone. Bidirectional with `across="lstm"` it is the published
    network, but for its norms: those here see one band of one frame, not whole songs.

    Attributes:
      stft: Format of the spectra.
      targets: Names of the targets, which share all but the mask's layers.
      bands: Name of a table of bands, one of `TABLES`.
      features: Features of a band.
      hidden_size: Units of an LSTM in one direction.
      num_layers: Number of layers, each along time and along bands.
      mask_size: Units in the inner layer of each band's mask.
      bidirectional: Whether the network sees later frames too; it isn't causal then.
      across: How a layer looks along bands: by a bidirectional LSTM, or by dense layers across
        them, which take fewer steps and products.
      sees: What the network sees: of a spectrum its real and imaginary parts and its magnitudes.
      answers: Whether masks are complex and unbounded, or real and up to `mask_limit`.
      mask_limit: Largest real mask.
      level_seconds: Time constant of the running level in seconds, see `Normalise`.
      normalise: Whether that is normalised: magnitudes by `Normalise`; of a spectrum each band of a
        frame by itself, which then also sees its level beside the song's.
      exponent: Power of the normalised magnitudes; 0 takes their logarithm, see `Normalise`.
      dropout: Share of the features that are dropped behind each layer in training.
      dtype: Data type of the matrix products; parameters, states and masks are float32.

    Reference: Luo and Yu, Music source separation with band-split RNN, 2023.
    """

    stft: StftConfig
    targets: tuple[str, ...] = ("vocals",)
    bands: Literal["vocals", "drums", "bass", "other"] = "vocals"
    features: int = 64
    hidden_size: int = 96
    num_layers: int = 4
    mask_size: int = 128
    bidirectional: bool = False
    across: Literal["lstm", "dense"] = "dense"
    sees: Literal["spectrum", "magnitude"] = "spectrum"
    answers: Literal["complex", "real"] = "complex"
    mask_limit: float = 1.0
    level_seconds: float = 10.0
    normalise: bool = True
    exponent: float = 0.0
    dropout: float = 0.0
    dtype: jnp.dtype = jnp.dtype("float32")

    def __post_init__(self):
        super().__post_init__()
        for name in ("features", "hidden_size", "num_layers", "mask_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be 1 or more")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout} must be at least 0 and less than 1")
        if self.mask_limit <= 0:
            raise ValueError(f"mask_limit={self.mask_limit} must be above 0")
        if (self.sees, self.answers) == ("magnitude", "complex"):
            raise ValueError(
                'answers="complex" needs sees="spectrum": magnitudes say nothing about phases'
            )

    @property
    def traits(self) -> Traits:
        """How the masker wants to be used."""
        windows = WINDOWS if self.bidirectional else None
        return Traits(windows, self.sees, self.answers, dropout=self.dropout)

    def initial_carry(self, batch: int) -> dict[str, Any]:
        """Returns the state before the first frame."""
        num_bands = len(make_bands(self.bands, self.stft).widths)
        zeros = jnp.zeros((batch, num_bands, self.hidden_size))
        return {"level": jnp.zeros((batch, 2)), "time": [(zeros, zeros)] * self.num_layers}

    @nn.compact
    def __call__(
        self,
        mixture: Inexact[Array, "batch frames channels bins"],
        carry: dict[str, Any],
        *,
        valid: Valid | None = None,
    ) -> tuple[Masks, dict[str, Any]]:
        """Predicts masks; see `Masker`."""
        batch, frames, channels, bins = mixture.shape
        bands = make_bands(self.bands, self.stft)
        x, level, carried = self._look(mixture, carry["level"])
        levels_bands = self.normalise and self.sees == "spectrum"
        split = BandSplit(bands, self.features, levels_bands, self.dtype, name="split")
        x = split(x, level).reshape(frames, batch, len(bands.widths), self.features)
        states = []
        for index, state in enumerate(carry["time"]):
            time = AlongTime(
                self.hidden_size, self.bidirectional, self.dtype, name=f"time_{index + 1}"
            )
            x, state = time(x, state, valid)
            states.append(state)
            bands_layer = AlongBands if self.across == "lstm" else AcrossBands
            x = bands_layer(self.hidden_size, self.dtype, name=f"bands_{index + 1}")(x)
            if self.dropout:
                is_certain = not self.has_rng("dropout")
                name = f"dropout_{index + 1}"
                x = nn.Dropout(self.dropout, deterministic=is_certain, name=name)(x)
        x = x.reshape(frames * batch, len(bands.widths), self.features)
        masks = [self._mask(target, x) for target in self.targets]
        masks = jnp.stack(masks).reshape(len(masks), frames, batch, channels, bins)
        return jnp.moveaxis(masks, 2, 0), {"level": carried, "time": states}

    def _look(
        self, mixture: Inexact[Array, "batch frames channels bins"], carry: LevelCarry
    ) -> tuple[Float[Array, "rows planes bins"], Float[Array, " rows"], LevelCarry]:
        """Returns numbers of each bin, the song's level, and the next carry of it."""
        if self.sees == "magnitude":
            normalise = Normalise(
                self.stft,
                self.level_seconds,
                self.normalise,
                exponent=self.exponent,
                name="normalise",
            )
            x, carry = normalise(mixture, carry)
            x = x.reshape(mixture.shape)
            level = jnp.ones(mixture.shape[:2])
        else:
            magnitude = jnp.abs(mixture)
            level, carry = song_level(magnitude, carry, self.stft, self.level_seconds)
            x = jnp.concatenate([mixture.real, mixture.imag, magnitude], axis=2)
        # Time comes first: a step of the recurrence then reads neighbouring memory.
        x, level = jnp.swapaxes(x, 0, 1), level.T
        return x.reshape(-1, *x.shape[2:]), level.reshape(-1), carry

    def _mask(
        self, target: str, x: Float[Array, "rows bands features"]
    ) -> Inexact[Array, "rows channels bins"]:
        """Returns the masks of a target."""
        channels, bands = self.stft.channels, make_bands(self.bands, self.stft)
        planes = channels if self.answers == "real" else 4 * channels
        head = BandMasks(bands, self.mask_size, planes, self.dtype, name=f"mask_{target}")
        numbers = head(x)
        if self.answers == "real":
            return self.mask_limit * nn.sigmoid(numbers)
        values, gates = jnp.split(numbers, 2, axis=1)
        real, imaginary = jnp.split(values * nn.sigmoid(gates), 2, axis=1)
        return jax.lax.complex(real, imaginary)

    def with_statistics(self, variables: Variables, statistics: Statistics) -> Variables:
        """Returns variables with the data set's statistics; see `Masker`."""
        return with_normalise(variables, statistics) if self.sees == "magnitude" else variables

    def only(self, targets: Iterable[str]) -> "BSRNNMasker":
        """Returns a masker without the masks of other targets; see `Masker`."""
        wanted = set(targets)
        return self.clone(targets=tuple(target for target in self.targets if target in wanted))
