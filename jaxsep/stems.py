"""The stems that a model gives: its targets, and what they leave of the mixture. Needs no JAX."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

ACCOMPANIMENT = "accompaniment"  # the mixture without the vocals, or without the only target
RESIDUAL = "residual"  # the mixture without all of the model's targets
COMPLEMENT = "no_{}"  # the mixture without one target
MIXTURE = "mixture"


class StemError(ValueError):
    """A model has no such stem; the one-line text says which it has."""


def is_reserved(name: str) -> bool:
    """Tells whether a name stands for the song, or for what targets leave of it.

    The accompaniment is a stem like others beside vocals alone.
    """
    return name in (MIXTURE, RESIDUAL) or name.startswith(COMPLEMENT.format(""))


def complements(targets: Sequence[str]) -> dict[str, str]:
    """Returns the stems that a target leaves of the mixture: by name, that target.

    Args:
      targets: Targets of a model.
    """
    found = {COMPLEMENT.format(target): target for target in targets}
    if "vocals" in targets or len(targets) == 1:
        found[ACCOMPANIMENT] = "vocals" if "vocals" in targets else targets[0]
    return {stem: target for stem, target in found.items() if stem not in targets}


def main_target(targets: Sequence[str]) -> str:
    """Returns the target to give where one is wanted and none is named: vocals, or the first."""
    return "vocals" if "vocals" in targets else targets[0]


def covering(targets: tuple[str, ...]) -> tuple[str, ...]:
    """Returns stems that sum to the mixture: all targets and, at the end, what they leave of it."""
    if len(targets) > 1:
        return (*targets, RESIDUAL)
    return (*targets, list(complements(targets))[-1])


def choose(targets: tuple[str, ...], wanted: Iterable[str] | None) -> tuple[str, ...]:
    """Returns the stems that a separator is to give.

    Args:
      targets: Targets of its model.
      wanted: Stems, or None for what a model usually gives: all of its targets, and beside a single
        one what it leaves.

    Raises:
      StemError: If one can't be had from these targets, or there is none.
    """
    if wanted is None:
        return covering(targets) if len(targets) == 1 else targets
    wanted = tuple(wanted)
    there = tuple(dict.fromkeys((*targets, *complements(targets), RESIDUAL)))
    unknown = [stem for stem in wanted if stem not in there]
    if unknown or not wanted:
        name = repr(unknown[0]) if unknown else "none"
        raise StemError(f"{name} is no stem of this model; it has {', '.join(there)}")
    return tuple(dict.fromkeys(wanted))


def needed_targets(targets: tuple[str, ...], stems: Sequence[str]) -> tuple[str, ...]:
    """Returns those of a model's targets that some stems are made of."""
    if RESIDUAL in stems:
        return targets
    wanted = {complements(targets).get(stem, stem) for stem in stems}
    return tuple(target for target in targets if target in wanted)


def make_stems(
    mixture: np.ndarray,
    estimates: Mapping[str, np.ndarray],
    stems: Sequence[str],
    bit_depth: int | None = None,
) -> tuple[dict[str, np.ndarray], int]:
    """Makes stems that can be stored of the estimates of a model's targets.

    A target and its complement sum to the mixture, and so do all targets and the residual, as
    exactly as `split_exactly` says; but several complements and the residual at once may need
    samples beyond full scale, which are limited. Other stems are the estimates.

    Args:
      mixture: Mixture, float `[samples, channels]`.
      estimates: Estimates of `needed_targets` at least, float `[samples, channels]` each.
      stems: What `choose` returns.
      bit_depth: Bits per sample, as in `split_exactly`.

    Returns:
      The stems, float64 `[samples, channels]`; and how many samples had to be limited.
    """
    found: dict[str, np.ndarray] = {}
    others = {target: estimates[target] for target in needed_targets(tuple(estimates), stems)}
    whole, limited = mixture, 0
    for stem, target in complements(tuple(estimates)).items():
        if stem not in stems:
            continue
        if target not in found:
            [found[target]], found[stem], num = split_exactly(
                mixture, [others.pop(target)], bit_depth
            )
            whole = found[stem] if whole is mixture else whole - found[target]
            limited += num
        else:  # `no_vocals` beside `accompaniment`
            found[stem] = found[COMPLEMENT.format(target)]
    if RESIDUAL in stems:
        parts, found[RESIDUAL], num = split_exactly(whole, list(others.values()), bit_depth)
        limited += num
        found |= zip(others, parts, strict=True)
    else:
        for target, estimate in others.items():
            found[target], num = _limit(estimate, bit_depth)
            limited += num
    return {stem: found[stem] for stem in stems}, limited


def _limit(estimate: np.ndarray, bit_depth: int | None) -> tuple[np.ndarray, int]:
    """Rounds a stem to what can be stored; also returns how many samples had to be limited."""
    if bit_depth is None:
        return estimate.astype(np.float32).astype(np.float64), 0
    scale = 2.0 ** (bit_depth - 1)
    wanted = np.rint(estimate.astype(np.float64) * scale)
    part = np.clip(wanted, -scale, scale - 1)
    return part / scale, int(np.count_nonzero(part != wanted))


def split_exactly(
    mixture: np.ndarray, estimates: Sequence[np.ndarray], bit_depth: int | None
) -> tuple[list[np.ndarray], np.ndarray, int]:
    """Splits a mixture in stems that can be stored and then add up to it.

    With integer samples the sum is exact: mixture and estimates are rounded, and the estimates are
    limited to the values for which the rest can be stored, too. (A mixture beyond full scale times
    the number of stems can't be stored as any; it is limited as well.) With float samples each stem
    is rounded to float32, and the sum is off by at most 2**-24 times the magnitude of the rest.

    Args:
      mixture: float64 `[samples, channels]`.
      estimates: float `[samples, channels]` each, the stems but one, not yet rounded.
      bit_depth: Bits per sample of the files, as in `jaxsep.audio.writer.AudioWriter`.

    Returns:
      The estimates and the rest, float64 `[samples, channels]`, as `AudioWriter` takes them; and
      how many samples of them had to be limited.
    """
    if bit_depth is None:
        parts = [estimate.astype(np.float32).astype(np.float64) for estimate in estimates]
        return parts, (mixture - sum(parts)).astype(np.float32).astype(np.float64), 0
    scale = 2.0 ** (bit_depth - 1)
    low, high = -scale, scale - 1
    rounded = np.rint(mixture * scale)
    whole = np.clip(rounded, (len(estimates) + 1) * low, (len(estimates) + 1) * high)
    wanted = [np.rint(estimate.astype(np.float64) * scale) for estimate in estimates]
    parts = [np.clip(part, low, high) for part in wanted]
    rest = whole - sum(parts)
    surplus = rest - np.clip(rest, low, high)  # that the rest has no room for
    for index, part in enumerate(parts):
        parts[index] = np.clip(part + surplus, low, high)
        surplus -= parts[index] - part
    is_limited = whole != rounded
    for part, estimate in zip(parts, wanted, strict=True):
        is_limited |= part != estimate
    rest = whole - sum(parts)
    return [part / scale for part in parts], rest / scale, int(np.count_nonzero(is_limited))
