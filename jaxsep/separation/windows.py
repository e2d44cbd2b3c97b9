"""The one way in which waveforms are separated: window by window, with an explicit state.

A window holds `frames` frames. The masker sees all of them, but only the first `frames - overlap`
are turned back into sound; the rest is seen again by the next window, and the masks of both are
cross-faded there. A causal masker needs no overlap, and windows of any length give the same.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxsep.models import targets_of
from jaxsep.separation.wiener import refine_targets
from jaxsep.spectrogram import analyse, synthesise

# What passes from window to window: `masks` of `predict`, and `tail`, the sound to be added to.
State = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Windows:
    """How a masker goes through a song.

    Attributes:
      frames: in a window.
      overlap: frames that are in the next window as well; at most half of them.
      lead: frames of silence before the song.
    """

    frames: int
    overlap: int = 0
    lead: int = 0

    @property
    def step(self) -> int:
        """Frames from a window to the next."""
        return self.frames - self.overlap


def windows_of(masker: nn.Module, block_frames: int) -> Windows:
    """Returns the windows that a masker wants; if it is causal, those of `block_frames` frames."""
    if masker.is_causal:
        return Windows(block_frames)
    return Windows(masker.window_frames, masker.overlap_frames, masker.lead_frames)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))  # one small program, not one for each array
def initial_state(masker: nn.Module, items: int, windows: Windows) -> State:
    """Returns the state before the first window of a batch of signals."""
    stft = masker.stft
    samples = stft.n_fft - stft.hop_length
    tail = jnp.zeros((items, len(targets_of(masker)), samples, stft.channels))
    return {"masks": initial_masks(masker, items, windows), "tail": tail}


def initial_masks(masker: nn.Module, items: int, windows: Windows) -> State:
    """Returns the state of `predict` before the first window."""
    stft, num_targets = masker.stft, len(targets_of(masker))
    shape = (items, num_targets, windows.overlap, stft.channels, stft.bins)
    return {
        "carry": masker.initial_carry(items),
        "fading": jnp.zeros(shape),  # the masks of the window before, as they fade out
        "fade_in": jnp.ones(windows.overlap),  # there is none before the first
    }


def predict(
    masker: nn.Module, variables: dict, state: State, magnitude: jax.Array, valid: jax.Array
) -> tuple[State, jax.Array]:
    """Predicts the masks of a window.

    Args:
      masker: of `jaxsep.models`.
      variables: its parameters and statistics.
      state: of the window before, or `initial_masks`.
      magnitude: `[items, frames, channels, bins]`.
      valid: bool `[frames]`, False for those behind the song's end.

    Returns:
      The next state, and the masks of the frames before the next window,
      `[items, targets, step, channels, bins]`.
    """
    overlap = len(state["fade_in"])
    step = magnitude.shape[1] - overlap
    valid = jnp.broadcast_to(valid, magnitude.shape[:2])
    mask, carry = masker.apply(variables, magnitude, state["carry"], valid=valid)
    if overlap:
        # What the masker carries has to be of the frame where the next window begins, not of the
        # end. The compiler drops all of this that the carry doesn't depend on.
        before = magnitude[:, :step]
        _, carry = masker.apply(variables, before, state["carry"], valid=valid[:, :step])
    mask = mask.reshape(len(mask), -1, *magnitude.shape[1:])  # of one target it has no axis
    faded = state["fade_in"][:, None, None] * mask[:, :, :overlap] + state["fading"]
    fade_in = (jnp.arange(overlap, dtype=jnp.float32) + 0.5) / max(1, overlap)
    fading = (1 - fade_in)[:, None, None] * mask[:, :, step:]
    mask = jnp.concatenate([faded, mask[:, :, overlap:step]], axis=2)
    return {"carry": carry, "fading": fading, "fade_in": fade_in}, mask


def separate_window(
    masker: nn.Module,
    variables: dict,
    state: State,
    window: jax.Array,
    valid: jax.Array,
    *,
    wiener_iterations: int = 0,
    residual: bool = True,
) -> tuple[State, jax.Array]:
    """Separates a window.

    Args:
      masker: of `jaxsep.models`.
      variables: its parameters and statistics.
      state: of the window before, or `initial_state`.
      window: `[items, (frames - 1) * hop_length + n_fft, channels]`.
      valid: as in `predict`.
      wiener_iterations: by which the masked spectrograms are refined; see
        `jaxsep.separation.wiener`.
      residual: of `jaxsep.separation.wiener.refine_targets`.

    Returns:
      The next state, and the targets in the window's first `step * hop_length` samples,
      `[items, targets, samples, channels]`.
    """
    config = masker.stft
    spectrogram = analyse(window, config)
    masks, mask = predict(masker, variables, state["masks"], jnp.abs(spectrogram), valid)
    mixture = spectrogram[:, : mask.shape[2]]
    targets = mask * mixture[:, None]
    if wiener_iterations:
        refine = functools.partial(refine_targets, iterations=wiener_iterations, residual=residual)
        targets = jax.vmap(refine)(targets, mixture)
    sound = synthesise(targets, config)
    # The first samples lack the frames before the window, which left their part; the last ones lack
    # those of the next.
    num_ready, tail = mask.shape[2] * config.hop_length, state["tail"]
    sound = sound.at[:, :, : tail.shape[2]].add(tail)
    return {"masks": masks, "tail": sound[:, :, num_ready:]}, sound[:, :, :num_ready]
