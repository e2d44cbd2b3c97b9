"""Separates a waveform window by window: pure functions with an explicit state.

The masker sees all frames of a window, but only those before the next window are turned back into
sound. The frames that two windows share are masked by both, and the masks are cross-faded. A causal
masker needs no overlap: its windows may have any length.
"""

import functools
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Inexact

from jaxsep.models.masker import Masker, Variables, Windows, observe
from jaxsep.separation.wiener import refine_targets
from jaxsep.spectrogram import analyse, synthesise

# What passes from window to window: `masks` of `predict_masks`, and `tail`, the sound of earlier
# windows that reaches into the next.
State: TypeAlias = dict[str, Any]


def choose_windows(masker: Masker, block_frames: int) -> Windows:
    """Returns the windows that a masker wants; blocks of `block_frames` frames if it is causal."""
    return masker.traits.windows or Windows(block_frames)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))  # one small program, not one for each array
def initial_state(masker: Masker, items: int, windows: Windows) -> State:
    """Returns the state of `separate_window` before the first window.

    Args:
      masker: The masker.
      items: Number of signals that are separated side by side.
      windows: How the song is cut into windows.
    """
    stft = masker.stft
    samples = stft.n_fft - stft.hop_length
    tail = jnp.zeros((items, len(masker.targets), samples, stft.channels))
    return {"masks": initial_mask_state(masker, items, windows), "tail": tail}


def initial_mask_state(masker: Masker, items: int, windows: Windows) -> State:
    """Returns the state of `predict_masks` before the first window; see `initial_state`."""
    stft = masker.stft
    shape = (items, len(masker.targets), windows.overlap, stft.channels, stft.bins)
    return {
        "carry": masker.initial_carry(items),
        # Masks of the window before, as they fade out; there is none before the first window.
        "fading": jnp.zeros(shape, masker.traits.mask_dtype),
        "fade_in": jnp.ones(windows.overlap),
    }


def predict_masks(
    masker: Masker,
    variables: Variables,
    state: State,
    seen: Inexact[Array, "items frames channels bins"],
    valid: Bool[Array, " frames"],
) -> tuple[State, Inexact[Array, "items targets step channels bins"]]:
    """Predicts the masks of a window.

    Args:
      masker: The masker.
      variables: Parameters and statistics of the masker.
      state: State after the window before, or `initial_mask_state`.
      seen: What the masker sees of the window's spectrum, see `masker.observe`.
      valid: False for frames behind the song's end.

    Returns:
      The next state, and the masks of the frames before the next window.
    """
    overlap = len(state["fade_in"])
    step = seen.shape[1] - overlap
    valid = jnp.broadcast_to(valid, seen.shape[:2])
    masks, carry = masker.apply(variables, seen, state["carry"], valid=valid)
    if overlap:
        # The next window starts at `step`, so its carry has to be the one there, not at the end.
        # The compiler drops all of this that the carry doesn't depend on.
        before = seen[:, :step]
        _, carry = masker.apply(variables, before, state["carry"], valid=valid[:, :step])
    faded = _to_frames(state["fade_in"]) * masks[:, :, :overlap] + state["fading"]
    fade_in = (jnp.arange(overlap, dtype=jnp.float32) + 0.5) / max(1, overlap)
    fading = _to_frames(1 - fade_in) * masks[:, :, step:]
    masks = jnp.concatenate([faded, masks[:, :, overlap:step]], axis=2)
    return {"carry": carry, "fading": fading, "fade_in": fade_in}, masks


def _to_frames(factors: Float[Array, " frames"]) -> Float[Array, "1 1 frames 1 1"]:
    """Gives factors of frames the axes of masks."""
    return factors[None, None, :, None, None]


def separate_window(
    masker: Masker,
    variables: Variables,
    state: State,
    window: Float[Array, "items samples channels"],
    valid: Bool[Array, " frames"],
    *,
    wiener_iterations: int = 0,
    residual: bool = True,
) -> tuple[State, Float[Array, "items targets ready channels"]]:
    """Separates a window.

    Args:
      masker: The masker.
      variables: Parameters and statistics of the masker.
      state: State after the window before, or `initial_state`.
      window: Sound of all frames, `StftConfig.num_samples(frames)` samples.
      valid: False for frames behind the song's end.
      wiener_iterations: Iterations of `jaxsep.separation.wiener`, which refines the masked spectra.
      residual: Whether the rest of the mixture counts as a source there.

    Returns:
      The next state, and the targets' sound in the window's first `step * hop_length` samples.
    """
    config = masker.stft
    spectrum = analyse(window, config)
    mask_state, masks = predict_masks(
        masker, variables, state["masks"], observe(masker, spectrum), valid
    )
    mixture = spectrum[:, : masks.shape[2]]
    targets = masks * mixture[:, None]
    if wiener_iterations:
        refine = functools.partial(refine_targets, iterations=wiener_iterations, residual=residual)
        targets = jax.vmap(refine)(targets, mixture)
    sound = synthesise(targets, config)
    # The first samples lack the frames before the window, whose sound is in the tail; the last ones
    # lack those of the next window.
    num_ready, tail = masks.shape[2] * config.hop_length, state["tail"]
    sound = sound.at[:, :, : tail.shape[2]].add(tail)
    return {"masks": mask_state, "tail": sound[:, :, num_ready:]}, sound[:, :, :num_ready]
