"""Which stems a model gives, and what they add up to."""

import numpy as np
import pytest

from jaxsep.stems import (
    StemError,
    choose,
    covering,
    main_target,
    make_stems,
    needed_targets,
    split_exactly,
)

FOUR = ("vocals", "drums", "bass", "other")
BIT_DEPTHS = (8, 16, 24, 32)


def pcm_noise(bit_depth: int, seed: int = 0) -> np.ndarray:
    scale = 2 ** (bit_depth - 1)
    samples = np.random.default_rng(seed).integers(-scale, scale, (5_000, 2))
    return samples.astype(np.float64) / scale


def estimates_of(targets: tuple[str, ...], level: float = 0.2) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {target: level * rng.normal(size=(5_000, 2)).astype(np.float32) for target in targets}


@pytest.mark.parametrize(
    ("targets", "stems"),
    [
        (("vocals",), ("vocals", "accompaniment")),
        (FOUR, FOUR),
        (("drums",), ("drums", "accompaniment")),
        (("accompaniment",), ("accompaniment", "no_accompaniment")),
    ],
)
def test_by_default_a_model_gives_its_targets_and_beside_a_single_one_the_rest(targets, stems):
    assert choose(targets, None) == stems


def test_vocals_or_else_the_first_target_stand_for_a_model():
    assert main_target(("drums", "vocals")) == "vocals"
    assert main_target(("drums", "bass")) == "drums"


@pytest.mark.parametrize("targets", [("vocals",), ("drums",), FOUR, ("accompaniment",)])
def test_some_stems_always_sum_to_the_mixture(targets):
    mixture, stems = np.clip(pcm_noise(16), -0.5, 0.5), covering(targets)
    assert stems[:-1] == targets and choose(targets, stems) == stems
    made, _ = make_stems(mixture, estimates_of(targets, 0.02), stems, 16)
    np.testing.assert_array_equal(sum(made.values()), mixture)


def test_a_stem_that_a_model_has_not_is_refused_with_those_it_has():
    with pytest.raises(StemError, match=r"'piano' is no stem .* it has vocals, drums, bass, other"):
        choose(FOUR, ["vocals", "piano"])
    with pytest.raises(StemError, match=r"'accompaniment' .* it has a, b, no_a, no_b, residual"):
        choose(("a", "b"), ["accompaniment"])
    with pytest.raises(StemError, match="none is no stem"):
        choose(FOUR, [])


def test_stems_may_be_named_by_any_iterable():
    assert choose(FOUR, iter(["bass", "vocals", "bass"])) == ("bass", "vocals")


def test_only_what_stems_are_made_of_is_needed():
    assert needed_targets(FOUR, ("accompaniment", "bass")) == ("vocals", "bass")
    assert needed_targets(FOUR, ("no_drums", "bass")) == ("drums", "bass")
    assert needed_targets(FOUR, ("residual",)) == FOUR
    assert needed_targets(("speech",), ("accompaniment",)) == ("speech",)


@pytest.mark.parametrize("bit_depth", [16, None])
def test_each_target_and_what_it_leaves_sum_to_the_mixture(bit_depth):
    mixture, estimates = np.clip(pcm_noise(16), -0.5, 0.5), estimates_of(FOUR, 0.02)
    without = [f"no_{target}" for target in FOUR]
    wanted = choose(FOUR, [*without, *FOUR, "accompaniment", "residual"])
    stems, _ = make_stems(mixture, estimates, wanted, bit_depth)
    error = 1e-6 if bit_depth is None else 0
    for target, rest in zip(FOUR, without, strict=True):
        np.testing.assert_allclose(stems[target] + stems[rest], mixture, atol=error, rtol=0)
    np.testing.assert_array_equal(stems["accompaniment"], stems["no_vocals"])
    whole = sum(stems[name] for name in (*FOUR, "residual"))
    np.testing.assert_allclose(whole, mixture, atol=error, rtol=0)


@pytest.mark.parametrize("bit_depth", [16, 24, None])
@pytest.mark.parametrize("level", [0.2, 2.0])
def test_two_sums_are_the_mixture_at_once(bit_depth, level):
    mixture, estimates = pcm_noise(16), estimates_of(FOUR, level)
    stems, _ = make_stems(mixture, estimates, (*FOUR, "accompaniment", "residual"), bit_depth)
    error = 1e-6 if bit_depth is None else 0
    pair = stems["vocals"] + stems["accompaniment"]
    np.testing.assert_allclose(pair, mixture, atol=error, rtol=0)
    whole = sum(stems[name] for name in (*FOUR, "residual"))
    np.testing.assert_allclose(whole, mixture, atol=error, rtol=0)


def test_stems_without_the_rest_are_the_estimates_in_the_order_that_was_asked_for():
    mixture, estimates = pcm_noise(16), estimates_of(FOUR, 0.5)
    stems, limited = make_stems(mixture, estimates, ("bass", "vocals"), 16)
    assert list(stems) == ["bass", "vocals"]
    for name, stem in stems.items():
        expected = np.clip(estimates[name], -1, 1 - 2.0**-15)
        np.testing.assert_allclose(stem, expected, atol=2.0**-16)
    outside = sum(
        np.count_nonzero(np.rint(estimates[name] * 2.0**15) != stems[name] * 2**15)
        for name in stems
    )
    assert limited == outside > 0


@pytest.mark.parametrize("bit_depth", BIT_DEPTHS)
@pytest.mark.parametrize("loudness", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("targets", [("vocals",), FOUR])
def test_integer_stems_sum_to_the_mixture_and_can_be_stored(bit_depth, loudness, targets):
    mixture, scale = pcm_noise(bit_depth), 2 ** (bit_depth - 1)
    estimates = list(estimates_of(targets, loudness).values())
    parts, rest, _ = split_exactly(mixture, estimates, bit_depth)
    np.testing.assert_array_equal(sum(parts) + rest, mixture)
    for stem in [*parts, rest]:
        stored = stem * scale
        assert (stored == np.rint(stored)).all()
        assert stored.min() >= -scale and stored.max() < scale


def test_an_integer_stem_is_the_estimate_rounded_where_that_fits():
    mixture = np.rint(pcm_noise(16) / 4 * 2**15) / 2**15
    estimate = np.random.default_rng(1).uniform(-0.5, 0.5, size=mixture.shape)
    [stem], _, limited = split_exactly(mixture, [estimate], 16)
    assert np.abs(stem - estimate).max() <= 2.0**-16
    assert limited == 0


def test_limited_samples_are_counted():
    mixture = np.array([[0.5], [0.5], [0.5], [0.5], [3.0]])
    estimate = np.array([[0.25], [1.5], [-0.75], [0.0], [1.5]])  # the 2nd, the rest of the 3rd
    [vocals], rest, limited = split_exactly(mixture, [estimate], 16)
    assert limited == 3
    np.testing.assert_array_equal((vocals + rest)[:4], mixture[:4])
    assert abs(vocals[4] + rest[4] - 2) < 1e-4


def test_a_mixture_of_more_bits_is_rounded_before_it_is_split():
    mixture = pcm_noise(24) / 4
    [part], rest, limited = split_exactly(mixture, [0.3 * mixture], 16)
    np.testing.assert_array_equal(part + rest, np.rint(mixture * 2**15) / 2**15)
    assert limited == 0


def test_float_stems_sum_to_the_mixture_up_to_the_rounding_of_the_rest():
    generator = np.random.default_rng(0)
    mixture = generator.normal(size=(5_000, 2))
    [estimate], rest, _ = split_exactly(mixture, [generator.normal(size=(5_000, 2))], None)
    assert np.array_equal(estimate, estimate.astype(np.float32))
    assert np.array_equal(rest, rest.astype(np.float32))
    assert (np.abs(estimate + rest - mixture) <= 2.0**-24 * np.abs(mixture - estimate)).all()
