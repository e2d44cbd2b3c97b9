"""Renders mixtures of plans (`jaxsep.data.mix_plan`) in JAX, on CPUs and accelerators alike."""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Int16

from jaxsep.data.mix_plan import REVERB_SECONDS, SPEED_STEPS
from jaxsep.data.records import INT16_SCALE

LEVEL_FRAME = 4096  # samples over which a level is taken
PAUSE = 1e-3  # largest energy of a pause, relative to the loudest frame's
QUIETEST = 0.01  # level, -40 dB of full scale: the noise of a long pause isn't raised to a voice
TAPS = 16  # samples that one is interpolated from
KAISER_BETA = 6.0  # of the interpolation's window
BLOCK = 32  # samples that are interpolated with one product; a divisor of SPEED_STEPS

Example = dict[str, jax.Array]


@functools.partial(
    jax.jit, static_argnames=("samples", "chunk", "num_targets", "sample_rate", "mesh")
)
def render(
    batch: Mapping[str, jax.Array | np.ndarray],
    bank: Int16[Array, "records length channels"] | None = None,
    *,
    samples: int,
    chunk: int,
    num_targets: int,
    sample_rate: int,
    mesh: Mesh,
) -> Example:
    """Renders a batch of plans.

    Args:
      batch: Plans of `MixPlanner.place`, each array with an axis of examples in front, spread over
        the mesh; with the `waveforms` of `StemFiles.load`, or else for the bank.
      bank: Waveforms of `StemBank`.
      samples: Samples of a mixture.
      chunk: Samples of a record that a mixture needs at most.
      num_targets: Number of stems that are targets, the first ones.
      sample_rate: Sample rate in Hz.
      mesh: Devices.

    Returns:
      The batch with `stems` in place of what they are made of: float32
      `[batch, stems, samples, channels]`, yet without the equalisers' `gains`.
    """

    render_one = functools.partial(_render_one, samples, chunk, num_targets, sample_rate)
    spread, everywhere = PartitionSpec("data"), PartitionSpec()
    # By shards: XLA would gather the batch for the transforms of the rooms.
    render_share = jax.shard_map(
        jax.vmap(render_one, in_axes=(0, None)),
        mesh=mesh,
        in_specs=(spread, everywhere),
        out_specs=spread,
    )
    return render_share(jax.tree.map(jnp.asarray, dict(batch)), bank)


def _render_one(
    samples: int,
    chunk: int,
    num_targets: int,
    sample_rate: int,
    plan: Example,
    bank: jax.Array | None,
) -> Example:
    plan = dict(plan)
    records, starts = plan.pop("records"), plan.pop("starts")
    waveforms = plan.pop("waveforms") if bank is None else _cut(bank, records, starts, chunk)
    # Takes of a stem have one speed: added up first, they are resampled once.
    stems = _apply(plan.pop("matrices"), waveforms).sum(axis=1)
    if "speeds" in plan:
        stems = jax.vmap(functools.partial(_resample, samples))(stems, plan.pop("speeds"))
    stems = stems[:, :samples] / INT16_SCALE
    if "reverb_db" in plan:
        rooms = {name: plan.pop(f"reverb_{name}") for name in ("seconds", "db", "seed")}
        for place in range(num_targets):
            room = {name: values[place] for name, values in rooms.items()}
            stems = stems.at[place].set(_reverberate(stems[place], room, sample_rate))
    gains = jnp.stack([_balance(stems, place) for place in range(num_targets)])
    gains *= 10 ** (plan.pop("levels_db") / 20)
    gains = jnp.where(plan.pop("paired"), 1.0, gains)
    stems = stems.at[:num_targets].multiply(gains[:, None, None])
    stems *= plan.pop("heard")[:, None, None]
    if "mono" in plan:
        stems = jnp.where(plan.pop("mono"), jnp.mean(stems, axis=2, keepdims=True), stems)
    return {**plan, "stems": stems}


def _cut(bank: jax.Array, records: jax.Array, starts: jax.Array, chunk: int) -> jax.Array:
    """Cuts int16 `[stems, takes, chunk, channels]` from records; silence follows their ends."""
    # What is planned as nothing is record 0 here, times 0.
    records = jnp.maximum(records, 0)[:, :, None]
    positions = starts[:, :, None] + jnp.arange(chunk)[None, None]
    return bank.at[records, positions].get(mode="fill", fill_value=0)


def _apply(matrices: jax.Array, waveforms: jax.Array) -> jax.Array:
    """Maps channels, `[..., samples, channels]`; sums of products, for the matrices are tiny."""
    channels = waveforms.shape[-1]
    return sum(
        (
            matrices[..., None, :, channel] * waveforms[..., channel, None]
            for channel in range(channels)
        ),
        start=jnp.zeros(()),
    )


def _resample(samples: int, waveform: jax.Array, speed: jax.Array) -> jax.Array:
    """Plays `[chunk, channels]` at a speed, in steps of 1 / `SPEED_STEPS`.

    `SPEED_STEPS` samples of the result stand for exactly `speed` samples of the waveform, so blocks
    of the result that are so far apart are interpolated with the same weights: by one product.
    What a speed above 1 raises past half the sample rate comes back as an alias: at a speed of 1.2
    and 44.1 kHz, what was above 18.4 kHz.

    Reference: Smith and Gossett, A flexible sampling-rate conversion method, 1984 (a windowed sinc,
    tabulated).
    """
    cycles = -(-samples // SPEED_STEPS)
    steps = jnp.arange(SPEED_STEPS).reshape(-1, BLOCK) * speed  # [blocks, BLOCK]
    whole, phases = steps // SPEED_STEPS, steps % SPEED_STEPS
    span = BLOCK * len(waveform) // samples + TAPS + 2  # samples that the fastest block needs
    places = jnp.arange(span)[None, None]
    taps = places - (whole - whole[:, :1])[:, :, None]  # [blocks, BLOCK, span]
    table = jnp.asarray(_interpolation())
    weights = table.at[phases[:, :, None], taps].get(mode="fill", fill_value=0)
    weights = jnp.where(taps < 0, 0, weights)  # negative ones count from the end
    firsts = jnp.arange(cycles)[:, None] * speed + whole[None, :, 0]  # [cycles, blocks]
    padded = jnp.pad(waveform, ((TAPS // 2 - 1, 0), (0, 0)))
    windows = padded.at[firsts[:, :, None] + places].get(mode="fill", fill_value=0)
    played = jnp.einsum("cbsk,bts->cbtk", windows, weights, precision="highest")
    return played.reshape(-1, waveform.shape[1])[:samples]


@functools.cache
def _interpolation() -> np.ndarray:
    """Returns the weights of the samples around a place between two, float32 `[phases, taps]`."""
    offsets = np.arange(TAPS) - (TAPS // 2 - 1)
    distances = offsets - np.arange(SPEED_STEPS)[:, None] / SPEED_STEPS
    inside = np.clip(1 - np.square(distances / (TAPS // 2)), 0, None)
    weights = np.sinc(distances) * np.i0(KAISER_BETA * np.sqrt(inside)) * (inside > 0)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _balance(stems: jax.Array, place: int) -> jax.Array:
    """Returns the gain that makes one of `[stems, samples, channels]` as loud as all others."""
    return _level(jnp.delete(stems, place, axis=0).sum(axis=0)) / _level(stems[place])


def _level(waveform: jax.Array) -> jax.Array:
    """Returns the root mean square of what isn't a pause; at least `QUIETEST`."""
    samples, channels = waveform.shape
    whole = waveform[: samples // LEVEL_FRAME * LEVEL_FRAME]
    energies = jnp.mean(jnp.square(whole).reshape(-1, LEVEL_FRAME * channels), axis=1)
    is_sounding = energies > PAUSE * jnp.max(energies, initial=0.0)
    mean = jnp.sum(energies * is_sounding) / jnp.maximum(jnp.sum(is_sounding), 1)
    return jnp.maximum(QUIETEST, jnp.sqrt(mean))


def _reverberate(waveform: jax.Array, room: Example, sample_rate: int) -> jax.Array:
    """Adds a tail: the waveform convolved with fading noise.

    Reference: Moorer, About this reverberation business, 1979 (a room's response is much like
    noise that fades exponentially).
    """
    times = jnp.arange(round(REVERB_SECONDS[1] * sample_rate)) / sample_rate
    noise = jax.random.normal(jax.random.key(room["seed"]), (len(times), waveform.shape[1]))
    fading = 10 ** (-3 * times / room["seconds"])
    noise *= jnp.where(times < room["seconds"], fading, 0)[:, None]
    noise *= 10 ** (room["db"] / 20) / jnp.linalg.norm(noise, axis=0, keepdims=True)
    size = 2 ** (len(waveform) + len(noise) - 1).bit_length()
    spectrum = jnp.fft.rfft(waveform, size, axis=0) * jnp.fft.rfft(noise, size, axis=0)
    return waveform + jnp.fft.irfft(spectrum, size, axis=0)[: len(waveform)]
