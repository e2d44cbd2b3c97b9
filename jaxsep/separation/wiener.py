"""Multichannel Wiener filtering: what sounds from the same place belongs to the same stem.

Expectation maximisation refines what a mask has found: each source is taken to have a power in
each frame and bin, and in each bin a place between the channels that stays for some seconds.

Reference: Nugraha, Liutkus and Vincent, Multichannel music separation with deep neural networks,
2016, in the form and with the constants of the package `openunmix` 1.3.0 (which, unlike this, takes
a mixture of exactly 0 for one of 1).
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex

WINDOW_FRAMES = 300  # in which a source stays in its place; 7 s of Open-Unmix's frames
EPSILON = 1e-10
MOST_ITERATIONS = 50  # nothing moves any more, and each costs as much as the network
LOUDEST = 10.0  # mixtures of larger magnitudes are scaled down to it, for the sake of float32

# Spectra of targets or sources, and of the mixture.
Spectra = Complex[Array, "sources frames channels bins"]
Spectrum = Complex[Array, "frames channels bins"]

_einsum = functools.partial(jnp.einsum, precision="highest")


def refine_targets(
    targets: Spectra, mixture: Spectrum, iterations: int, *, residual: bool
) -> Spectra:
    """Refines the estimates of a model's targets, in parts of about `WINDOW_FRAMES` frames.

    Args:
      targets: Targets as masks have found them.
      mixture: Mixture of the targets and the rest.
      iterations: Iterations of expectation maximisation.
      residual: Whether the rest of the mixture is a source as well; a target alone needs it.

    Returns:
      The refined targets.
    """
    num_parts = max(1, round(len(mixture) / WINDOW_FRAMES))
    refined = []
    for sources, whole in zip(
        jnp.array_split(targets, num_parts, axis=1),
        jnp.array_split(mixture, num_parts),
        strict=True,
    ):
        if residual:
            sources = jnp.concatenate([sources, (whole - sources.sum(axis=0))[None]])
        refined.append(refine(sources, whole, iterations)[: len(targets)])
    return jnp.concatenate(refined, axis=1)


def refine(estimates: Spectra, mixture: Spectrum, iterations: int) -> Spectra:
    """Refines the estimates of all sources of a mixture, in one window.

    Args:
      estimates: Sources, two at least.
      mixture: Mixture of the sources.
      iterations: Iterations of expectation maximisation.

    Returns:
      The refined sources; they add up to the mixture, but for the `EPSILON` in it that is taken for
      noise.
    """
    scale = jnp.maximum(1.0, jnp.abs(mixture).max() / LOUDEST)
    estimates, mixture = estimates / scale, mixture / scale
    for _ in range(iterations):
        estimates = _iterate(estimates, mixture)
    return scale * estimates


def _iterate(estimates: jax.Array, mixture: jax.Array) -> jax.Array:
    """Learns powers and places from the estimates, and filters the mixture by them."""
    power = jnp.mean(jnp.square(jnp.abs(estimates)), axis=2)
    products = _einsum("stcb,stdb->sbcd", estimates, estimates.conj())
    place = products / (EPSILON + power.sum(axis=1))[..., None, None]
    covariance = _einsum("stb,sbcd->tbcd", power, place)
    whitened = _solve(covariance, EPSILON**0.5, mixture)
    return power[:, :, None] * _einsum("sbcd,tdb->stcb", place, whitened)


def _solve(covariance: jax.Array, noise: float, x: jax.Array) -> jax.Array:
    """Multiplies with the inverse of covariances to which the same noise in each channel is added.

    For two channels by the formula, in which the noise stays apart: added to the loudest bins it
    would be lost in float32, and where both channels are the same it is all that there is to divide
    by.

    Args:
      covariance: Hermitian `[frames, bins, channels, channels]`, without negative eigenvalues.
      noise: Variance to add.
      x: `[frames, channels, bins]`.
    """
    if x.shape[1] != 2:
        noisy = covariance + noise * jnp.eye(x.shape[1])[None, None]
        return jnp.swapaxes(jnp.linalg.solve(noisy, jnp.swapaxes(x, 1, 2)[..., None])[..., 0], 1, 2)
    a, b, c, d = (covariance[..., i, j] for i in range(2) for j in range(2))
    left, right = x[:, 0], x[:, 1]
    adjugate = jnp.stack([d * left - b * right, a * right - c * left], axis=1)
    determinant = jnp.maximum((a * d - b * c).real, 0) + noise * (a + d).real + noise**2
    return (adjugate + noise * x) / determinant[:, None]
