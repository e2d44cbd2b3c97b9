"""Spleeter's masker for two stems: a U-Net for each, and the share of the vocals in both.

It runs the weights that Deezer trained; `jaxsep.convert.spleeter` reads them.

Reference: Hennequin et al., Spleeter: a fast and efficient music source separation tool with
pre-trained models, 2020; after the U-Net of Jansson et al., 2017.
"""

from collections.abc import Iterable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jaxsep.models.layers import FixedNorm
from jaxsep.models.masker import Masks, Statistics, Traits, Valid, Variables, Windows
from jaxsep.stft_config import StftConfig

EXTENSIONS = ("zeros", "average")
STEMS = ("vocals", "accompaniment")
LEVELS = 6  # each halves the frames and the bins
EPSILON = 1e-10  # where both stems are silent, each gets half
NORM_EPSILON = 1e-3


class UNet(nn.Module):
    """Estimates the magnitudes of one stem.

    Attributes:
      filters: Filters of the first convolution; each further one has twice as many.
      dtype: Data type of the convolutions.
    """

    filters: int
    dtype: jnp.dtype = jnp.dtype("float32")

    @nn.compact
    def __call__(
        self, magnitude: Float[Array, "segments frames bins channels"]
    ) -> Float[Array, "segments frames bins channels"]:
        """Estimates magnitudes; frames and bins are multiples of `2**LEVELS`."""
        x, skips = magnitude, []
        for level in range(LEVELS):
            if level:
                x = nn.leaky_relu(FixedNorm(NORM_EPSILON, name=f"down_{level}_norm")(x), 0.2)
            name = f"down_{level + 1}"
            # All around, what a stride of 2 needs, and the odd one behind (as in TensorFlow).
            padding = ((1, 2), (1, 2))
            x = nn.Conv(self.filters * 2**level, (5, 5), 2, padding, dtype=self.dtype, name=name)(x)
            skips.append(x)
        x = skips.pop()
        for level in reversed(range(LEVELS)):
            name = f"up_{LEVELS - level}"
            filters = self.filters * 2 ** (level - 1) if level else 1
            # The transpose of the padding above: of 2n + 3 rows it leaves 2n.
            padding = ((3, 2), (3, 2))
            x = nn.ConvTranspose(filters, (5, 5), (2, 2), padding, dtype=self.dtype, name=name)(x)
            x = FixedNorm(NORM_EPSILON, name=f"{name}_norm")(nn.relu(x))
            if skips:
                x = jnp.concatenate([skips.pop(), x], axis=-1)
        logits = nn.Conv(
            magnitude.shape[-1],
            (4, 4),
            padding=3,
            kernel_dilation=2,
            dtype=self.dtype,
            name="mask",
        )(x)
        return nn.sigmoid(logits.astype(jnp.float32)) * magnitude


class SpleeterMasker(nn.Module):
    """Two U-Nets that see the lower bins of a song in segments, each by itself.

    Attributes:
      stft: Format of the magnitudes.
      extension: Mask above the bins that the networks see: `zeros`, as Spleeter has it by default,
        or the `average` over the bins that they see.
      window_frames: Length of a segment in frames, a multiple of 64; silence fills up the last one.
      low_bins: Number of the lowest bins that the networks see, a multiple of 64.
      filters: Filters of the networks' first convolution.
      dtype: Data type of the convolutions; parameters and masks are float32.
    """

    stft: StftConfig
    extension: str = "zeros"
    window_frames: int = 512
    low_bins: int = 1024
    filters: int = 16
    dtype: jnp.dtype = jnp.dtype("float32")

    targets = ("vocals",)

    def __post_init__(self):
        super().__post_init__()
        if self.extension not in EXTENSIONS:
            raise ValueError(
                f"extension={self.extension!r} is unknown; use one of {', '.join(EXTENSIONS)}"
            )
        if self.window_frames % 2**LEVELS or self.low_bins % 2**LEVELS:
            raise ValueError(
                f"window_frames={self.window_frames} and low_bins={self.low_bins} must be"
                f" multiples of {2**LEVELS}"
            )
        if self.low_bins > self.stft.bins:
            raise ValueError(
                f"low_bins={self.low_bins} are more than the {self.stft.bins} of the transform"
            )

    @property
    def traits(self) -> Traits:
        """How the masker wants to be used.

        A segment begins where the first frame is centred on the song's first sample: the frame
        before, the first that touches the song, ends a segment of silence. The weights' port to
        PyTorch cuts songs like this, and where they are cut matters by tenths of a dB.

        The networks know levels, and Spleeter's decoder, FFmpeg, makes two channels of one with a
        gain of the square root of one half.
        """
        windows = Windows(self.window_frames, lead=self.window_frames - 1)
        return Traits(windows=windows, mono_gain=0.5**0.5)

    def initial_carry(self, batch: int) -> tuple[()]:
        """Returns nothing: no segment sees another."""
        del batch
        return ()

    @nn.compact
    def __call__(
        self,
        magnitude: Float[Array, "batch frames channels bins"],
        carry: tuple[()],
        *,
        valid: Valid | None = None,
    ) -> tuple[Masks, tuple[()]]:
        """Predicts masks; see `Masker`."""
        if valid is not None:
            magnitude = jnp.where(valid[:, :, None, None], magnitude, 0)
        segments = self._to_segments(magnitude[..., : self.low_bins])
        vocals, accompaniment = (
            jnp.square(UNet(self.filters, self.dtype, name=stem)(segments)) for stem in STEMS
        )
        mask = (vocals + EPSILON / 2) / (vocals + accompaniment + EPSILON)
        mask = self._to_frames(mask, magnitude.shape)
        rest = mask.mean(axis=-1, keepdims=True) if self.extension == "average" else 0.0
        rest = jnp.broadcast_to(rest, (*mask.shape[:-1], self.stft.bins - self.low_bins))
        return jnp.concatenate([mask, rest], axis=-1)[:, None], carry

    def with_statistics(self, variables: Variables, statistics: Statistics) -> Variables:
        """Returns the variables: their statistics are those of the training, not of a data set."""
        del statistics
        return variables

    def only(self, targets: Iterable[str]) -> "SpleeterMasker":
        """Returns the masker itself, which has one target."""
        del targets
        return self

    def _to_segments(self, magnitude: jax.Array) -> jax.Array:
        """Maps `[batch, frames, channels, bins]` to `[segments, window_frames, bins, channels]`."""
        behind = -magnitude.shape[1] % self.window_frames
        padded = jnp.pad(magnitude, ((0, 0), (0, behind), (0, 0), (0, 0)))
        segments = padded.reshape(-1, self.window_frames, *magnitude.shape[2:])
        return jnp.swapaxes(segments, -2, -1)

    def _to_frames(self, segments: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """Undoes `_to_segments`; `shape` starts with the batch and the frames."""
        batch, frames, channels, _ = shape
        mask = jnp.swapaxes(segments, -2, -1).reshape(batch, -1, channels, self.low_bins)
        return mask[:, :frames]
