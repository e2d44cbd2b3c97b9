"""The recurrent masker: LSTM layers between dense layers, scanned over time."""

import functools
import math
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jaxsep.models.layers import Dense, MaskHead, Normalise, is_watched, num_bands, with_normalise
from jaxsep.models.lstm_scan import LSTMCarry, lstm_scan
from jaxsep.models.masker import Masks, Statistics, Traits, Valid, Variables, Windows
from jaxsep.stft_config import StftConfig

# Windows of a bidirectional masker. With three layers trained on MIR-1K, the vocals of a six-minute
# song differ by -41 dB from those of the song as one window (`benchmarks.windows`); an overlap of
# 512 frames makes it 2 dB less, windows of 512 frames 2 dB more.
WINDOWS = Windows(frames=1024, overlap=256)


def check_sizes(hidden_size: int, num_layers: int, *, bidirectional: bool, dropout: float) -> None:
    """Checks the fields that recurrent maskers share.

    Raises:
      ValueError: If one is out of range.
    """
    if hidden_size < 1 or (bidirectional and hidden_size % 2):
        raise ValueError(
            f"hidden_size={hidden_size} must be 1 or more, and even for a bidirectional model"
        )
    if num_layers < 1:
        raise ValueError(f"num_layers={num_layers} must be 1 or more")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout={dropout} must be at least 0 and less than 1")


def initial_states(
    batch: int, hidden_size: int, num_layers: int, *, bidirectional: bool
) -> list[LSTMCarry]:
    """Returns the state of each layer before the first frame; see `LSTMLayer` for the sizes."""
    zeros = jnp.zeros((batch, hidden_size // (2 if bidirectional else 1)))
    return [(zeros, zeros)] * num_layers


def _bias_init(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Opens the forget gates at first, so that gradients reach far back."""
    del key
    return jnp.zeros(shape).reshape(4, -1).at[1].set(1.0).reshape(shape)


class LSTMLayer(nn.Module):
    """One LSTM layer; reports what `lstm_scan` watches.

    Attributes:
      hidden_size: Units of both directions together.
      bidirectional: Whether half of the units run backwards in time.
      unroll: Steps in one iteration of the loop, see `lstm_scan`.
      dtype: Data type of the matrix products; states are float32.
      cell_limit: Largest size of a cell state, see `lstm_scan`.
      recompute: Whether the way back computes the gates once more, see `lstm_scan`.
    """

    hidden_size: int
    bidirectional: bool = False
    unroll: int = 1
    dtype: jnp.dtype = jnp.dtype("float32")
    cell_limit: float = math.inf
    recompute: bool = False

    def _direction(self, name: str, x: jax.Array, carry: LSTMCarry, **kwargs):
        units = self.hidden_size // (2 if self.bidirectional else 1)
        w_ih = self.param(f"{name}_w_ih", nn.initializers.lecun_normal(), (x.shape[-1], 4 * units))
        w_hh = self.param(f"{name}_w_hh", nn.initializers.orthogonal(), (units, 4 * units))
        bias = self.param(f"{name}_bias", _bias_init, (4 * units,))
        watch = is_watched(self)
        kwargs |= {"cell_limit": self.cell_limit, "unroll": self.unroll}
        kwargs |= {"dtype": self.dtype, "recompute": self.recompute, "watch": watch}
        outputs, next_carry, seen = lstm_scan(x, carry, w_ih, w_hh, bias, **kwargs)
        for number, value in (seen or {}).items():
            self.sow("health", number, value)
        return outputs, next_carry

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch frames inputs"],
        carry: LSTMCarry,
        *,
        valid: Valid | None = None,
    ) -> tuple[Float[Array, "batch frames outputs"], LSTMCarry]:
        """Maps features to features, and the state to the next."""
        outputs, next_carry = self._direction("forward", x, carry)
        if self.bidirectional:
            # The future has no carry: the backward state starts from zero at the end of `x`.
            start = jax.tree.map(jnp.zeros_like, carry)
            backward, _ = self._direction("backward", x, start, reverse=True, valid=valid)
            outputs = jnp.concatenate([outputs, backward], axis=-1)
            # Nor has the past: both directions start a window at rest. Carrying the forward state
            # on brought a song in windows no nearer to the song as a whole.
            next_carry = carry
        return outputs, next_carry


class LSTMMasker(nn.Module):
    """A dense layer, LSTM layers, and two dense layers that see the output of both.

    Attributes:
      stft: Format of the magnitudes.
      targets: Names of the targets, which share all layers but the last.
      hidden_size: Units of each inner layer; even if `bidirectional`.
      num_layers: Number of LSTM layers.
      bidirectional: Whether the network sees later frames too; it isn't causal then.
      level_seconds: Time constant of the running level in seconds, see `Normalise`.
      normalise: Whether the network sees normalised magnitudes, see `Normalise`.
      exponent: Power of the normalised magnitudes; 0 takes their logarithm, see `Normalise`.
      dropout: Share of the inputs and outputs of the LSTM layers that are dropped in training.
      fine_bins: Number of bins that aren't merged, in input and masks, see `layers.to_bands`; 0
        merges none.
      mask_limit: Largest mask, see `MaskHead`.
      unroll: Steps in one iteration of `lstm_scan`; changes speed alone.
      dtype: Data type of the matrix products; parameters, states and masks are float32.
      cell_limit: Largest size of a cell state, see `lstm_scan`. No state reaches it in as many
        frames, so training on shorter crops is the same without it. In an endless stream it keeps
        the states near those of training.
    """

    stft: StftConfig
    targets: tuple[str, ...] = ("vocals",)
    hidden_size: int = 512
    num_layers: int = 1
    bidirectional: bool = False
    level_seconds: float = 10.0
    normalise: bool = True
    exponent: float = 0.0
    dropout: float = 0.0
    fine_bins: int = 0
    mask_limit: float = 1.0
    unroll: int = 1
    dtype: jnp.dtype = jnp.dtype("float32")
    cell_limit: float = 256.0

    def __post_init__(self):
        super().__post_init__()
        check_sizes(
            self.hidden_size,
            self.num_layers,
            bidirectional=self.bidirectional,
            dropout=self.dropout,
        )
        if self.mask_limit <= 0:
            raise ValueError(f"mask_limit={self.mask_limit} must be above 0")
        if self.fine_bins:
            num_bands(self.stft.bins, self.fine_bins)  # raises if they don't fit

    @property
    def traits(self) -> Traits:
        """How the masker wants to be used."""
        return Traits(windows=WINDOWS if self.bidirectional else None, dropout=self.dropout)

    def initial_carry(self, batch: int) -> dict[str, Any]:
        """Returns the state before the first frame."""
        states = initial_states(
            batch, self.hidden_size, self.num_layers, bidirectional=self.bidirectional
        )
        return {"level": jnp.zeros((batch, 2)), "lstm": states}

    @nn.compact
    def __call__(
        self,
        magnitude: Float[Array, "batch frames channels bins"],
        carry: dict[str, Any],
        *,
        valid: Valid | None = None,
    ) -> tuple[Masks, dict[str, Any]]:
        """Predicts masks; see `Masker`."""
        normalise = Normalise(
            self.stft,
            self.level_seconds,
            self.normalise,
            self.fine_bins,
            self.exponent,
            name="normalise",
        )
        x, level = normalise(magnitude, carry["level"])
        dense = functools.partial(Dense, self.hidden_size, dtype=self.dtype)
        x = dense(activation=jnp.tanh, name="dense_1")(x)
        # As in Open-Unmix, the later layers see what entered the recurrence beside its result.
        skipped, states = x, []
        for index, state in enumerate(carry["lstm"]):
            name = f"lstm_{index + 1}"
            layer = LSTMLayer(
                self.hidden_size,
                self.bidirectional,
                self.unroll,
                self.dtype,
                self.cell_limit,
                name=name,
            )
            x, state = layer(self._drop(x, index), state, valid=valid)
            states.append(state)
        x = jnp.concatenate([skipped, self._drop(x, self.num_layers)], axis=-1)
        x = dense(name="dense_2")(x)
        head = MaskHead(
            self.stft,
            len(self.targets),
            self.fine_bins,
            self.mask_limit,
            self.dtype,
            name="mask",
        )
        return head(x), {"level": level, "lstm": states}

    def _drop(self, x: jax.Array, index: int) -> jax.Array:
        if not self.dropout:
            return x
        is_certain = not self.has_rng("dropout")
        return nn.Dropout(self.dropout, deterministic=is_certain, name=f"dropout_{index + 1}")(x)

    def with_statistics(self, variables: Variables, statistics: Statistics) -> Variables:
        """Returns variables with the data set's statistics; see `Masker`."""
        return with_normalise(variables, statistics)

    def only(self, targets: Iterable[str]) -> "LSTMMasker":
        """Returns the masker itself: the targets share its layers."""
        del targets
        return self
