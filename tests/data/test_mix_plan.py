import dataclasses
import types

import numpy as np
import pytest

from configs import default
from jaxsep.data.mix_plan import (
    NOTHING,
    SPEED_STEPS,
    MixPlanner,
    draw_partners,
    draw_speeds,
)
from jaxsep.data.mixing import UNVARIED, Mixing
from jaxsep.data.records import DatasetError, StemRecord
from tests.helpers import RATE, TINY_STFT, Tones, prepare_waveforms


@pytest.fixture(scope="module")
def tones(tmp_path_factory):
    return prepare_waveforms(Tones(), tmp_path_factory.mktemp("tones") / "data")


def plans(dataset, mixing: Mixing, count: int = 400):
    planner = MixPlanner(dataset, "train", targets=["vocals"], frames=40, mixing=mixing)
    rng = np.random.default_rng(0)
    return [planner.draw(planner.leads[n % len(planner.leads)], rng) for n in range(count)]


def test_the_config_has_the_fields_and_defaults_of_mixing():
    assert Mixing(**default.get_config().mixing.to_dict()) == Mixing()


@pytest.mark.parametrize("tracks", range(2, 9))
def test_no_track_is_its_own_partner_and_each_is_a_partner_once(tracks):
    for seed in range(20):
        partners = draw_partners(tracks, np.random.default_rng(seed))
        assert sorted(partners) == list(range(tracks))
        assert (partners != np.arange(tracks)).all()


def test_stems_are_swapped_and_inverted_independently_of_each_other(tones):
    drawn = np.array([plan["matrices"][:, 0] for plan in plans(tones, Mixing(pan_db=0.0))])
    is_swapped = drawn[..., 0, 1] != 0  # [plans, stems]
    is_inverted = drawn.sum(axis=(2, 3)) < 0
    flips = np.concatenate([is_swapped, is_inverted], axis=1)
    np.testing.assert_allclose(flips.mean(axis=0), 0.5, atol=0.1)
    correlation = np.corrcoef(flips.T) - np.eye(4)
    assert np.abs(correlation).max() < 0.2


def test_channels_are_panned_independently_within_the_limit(tones):
    mixing = Mixing(pan_db=3.0, flip=False)
    gains = np.array([plan["matrices"][:, 0] for plan in plans(tones, mixing)])
    assert not gains[..., 0, 1].any() and not gains[..., 1, 0].any()
    decibels = 20 * np.log10(np.diagonal(gains, axis1=2, axis2=3)).reshape(-1, 4)
    assert -3 <= decibels.min() < -2.9 and 2.9 < decibels.max() < 3.001
    assert np.abs(np.corrcoef(decibels.T) - np.eye(4)).max() < 0.2


def test_speeds_are_percents_apart_and_both_ways_within_the_limit():
    speeds = draw_speeds(1.15, 2000, np.random.default_rng(0)) / SPEED_STEPS
    assert speeds.max() == pytest.approx(1.15, abs=0.005)
    assert speeds.min() == pytest.approx(1 / 1.15, abs=0.005)
    assert len(np.unique(speeds)) == 29
    assert np.median(speeds) == pytest.approx(1, abs=0.02)


def test_what_is_never_varied_is_not_planned(tones):
    names = {name for plan in plans(tones, UNVARIED, 5) for name in plan}
    assert not names & {"speeds", "reverb_db", "mono"}
    varied = dataclasses.replace(UNVARIED, speed=1.1, reverb=0.5, mono=0.5)
    assert plans(tones, varied, 1)[0].keys() >= {"speeds", "reverb_db", "mono"}


def test_shares_are_those_asked_for(tones):
    mixing = Mixing(silent=0.3, alone=0.2, second=0.4, second_rest=0.6, reverb=0.5)
    found = plans(tones, mixing, 1000)
    assert {plan["records"].shape for plan in found} == {(2, 2)}
    heard = np.array([plan["heard"] for plan in found])
    assert heard.any(axis=1).all()
    np.testing.assert_allclose(heard.mean(axis=0), [0.7, 0.8], atol=0.05)
    seconds = np.array([plan["records"][:, 1] != NOTHING for plan in found])
    # A second take is left out where it is the first one again: 1 record of 9.
    np.testing.assert_allclose(seconds.mean(axis=0), np.array([0.4, 0.6]) * 8 / 9, atol=0.05)
    rooms = np.array([plan["reverb_db"] > -np.inf for plan in found])
    assert rooms.mean() == pytest.approx(0.5, abs=0.05)


SHARES = ("paired", "silent", "alone", "second", "second_rest", "cut_off")


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        *((name, 0, 1) for name in (*SHARES, "reverb", "mono")),
        ("pan_db", 0, np.inf),
        ("equaliser_db", 0, np.inf),
        ("speed", 1, 2),
        ("min_db", -np.inf, 6),
        ("max_db", -12, np.inf),
    ],
)
def test_fields_beyond_their_range_are_refused(name, low, high):
    for value in {low, high} - {-np.inf, np.inf}:
        Mixing(**{name: value})
        with pytest.raises(ValueError, match=rf"mixing\.{name}="):
            Mixing(**{name: value - 0.01 if value == low else value + 0.01})


def test_a_target_may_be_mixed_by_values_of_its_own():
    mixing = Mixing(silent=0.3, by_target={"drums": {"silent": 0.02}})
    assert (mixing.of("drums").silent, mixing.of("bass").silent) == (0.02, 0.3)
    mixing.check_targets(["drums", "bass"])
    with pytest.raises(ValueError, match=r"mixing.by_target.drums is of no target; there are bass"):
        mixing.check_targets(["bass"])
    with pytest.raises(ValueError, match=r"mixing.by_target.drums.speed isn't one of min_db"):
        Mixing(by_target={"drums": {"speed": 1.1}})
    with pytest.raises(ValueError, match=r"mixing\.silent=2 must be from 0 to 1"):
        Mixing(by_target={"drums": {"silent": 2}})


def assert_uniform(values, low: float, high: float) -> None:
    margin = 0.05 * (high - low)
    assert low <= min(values) < low + margin and high - margin < max(values) <= high
    assert np.median(values) == pytest.approx((low + high) / 2, abs=3 * margin)


def test_levels_and_rooms_are_drawn_evenly_within_their_limits(tones):
    mixing = Mixing(reverb=1.0, second=1.0, second_rest=1.0, flip=False, pan_db=0.0)
    found = plans(tones, mixing)
    assert_uniform([float(plan["levels_db"][0]) for plan in found], -12, 6)
    assert_uniform([float(plan["reverb_db"][0]) for plan in found], -20, -6)
    assert_uniform([float(plan["reverb_seconds"][0]) for plan in found], 0.2, 1.5)
    assert len({int(plan["reverb_seed"][0]) for plan in found}) == len(found)
    second = np.array([plan["matrices"][:, 1, 0, 0] for plan in found])
    assert_uniform(20 * np.log10(second[second > 0]), -12, 0)
    assert_uniform(np.array([plan["places"] for plan in found]).ravel(), 0, 1)


def test_the_equaliser_is_as_wide_as_asked_for_and_smooth(tones):
    gains = np.array([plan["gains"] for plan in plans(tones, Mixing(cut_off=0.0))])
    decibels = 20 * np.log10(gains)  # [plans, stems, bins]
    np.testing.assert_allclose(decibels[..., [0, 1]].std(axis=(0, 1)), 3, rtol=0.1)
    assert np.abs(decibels.mean(axis=(0, 1))).max() < 0.5
    assert abs(np.corrcoef(decibels[:, 0, 0], decibels[:, 1, 0])[0, 1]) < 0.2
    frequencies = np.linspace(0, RATE / 2, gains.shape[-1])
    is_one_band = frequencies <= 80
    assert (np.ptp(decibels[..., is_one_band], axis=-1) < 1e-4).all()
    octave = np.abs(decibels[..., 32] - decibels[..., 64])
    assert 1 < octave.mean() < 4


def planner_of(stems, mixing: Mixing, sample_rate: int = RATE) -> MixPlanner:
    """Plans mixtures of four tracks with these stems, of which nothing is read."""
    dataset = types.SimpleNamespace(
        stft=dataclasses.replace(TINY_STFT, sample_rate=sample_rate),
        targets=stems,
        stem_records=lambda _: [StemRecord(track, stem, 0.0) for track in "abcd" for stem in stems],
    )
    return MixPlanner(dataset, "train", targets=["vocals"], frames=40, mixing=mixing)


def test_each_stem_has_records_of_its_own_whatever_its_name():
    stems = ("vocals", "drums", "zither")
    planner = planner_of(stems, Mixing(second=0.5, second_rest=0.5))
    rng = np.random.default_rng(0)
    for number in range(40):
        plan = planner.draw(planner.leads[number % 4], rng)
        played = [[planner.origin(r) for r in row if r != NOTHING] for row in plan["records"]]
        assert [{record.stem for record in row} for row in played] == [{stem} for stem in stems]
        tracks = {row[0].track for row in played}
        assert len(tracks) == 1 or not plan["paired"]


def test_a_share_of_the_mixtures_ends_at_a_codecs_limit():
    rate = 44_100
    planner = planner_of(("vocals", "accompaniment"), Mixing(cut_off=0.5), rate)
    rng = np.random.default_rng(0)
    ends = []
    for _ in range(400):
        is_heard = planner.draw(planner.leads[0], rng)["gains"] > 0
        assert (is_heard[0] == is_heard[1]).all()
        ends.append(is_heard[0].sum() / len(is_heard[0]) * rate / 2)
        assert is_heard[0][: is_heard[0].sum()].all()
    cut = [end for end in ends if end < rate / 2]
    assert len(cut) == pytest.approx(200, abs=30)
    assert_uniform(cut, 9_000 - 100, 20_000 + 100)


def test_what_songs_have_beside_the_targets_sounds_too(tmp_path):
    dataset = prepare_waveforms(
        Tones(stems=("speech", "music")), tmp_path / "d", targets=("speech",)
    )
    planner = MixPlanner(dataset, "train", targets=["speech"], frames=40, mixing=Mixing(silent=0))
    plan = planner.draw(planner.leads[0], np.random.default_rng(0))
    heard = [planner.origin(record).stem for record in plan["records"][:, 0]]
    assert heard == ["speech", "residual"]


def test_a_target_may_be_missing_in_validation_and_not_in_training(tmp_path):
    stems = ("speech", "music", "effects")
    tones = Tones(stems=stems, held_out=("speech-3", "music-3"))
    dataset = prepare_waveforms(tones, tmp_path / "data", targets=stems)
    fields = {"frames": 40, "mixing": UNVARIED}
    planner = MixPlanner(dataset, "validation", targets=["speech", "effects"], **fields)
    plan = planner.draw(planner.leads[0], np.random.default_rng(0))
    heard = [record != NOTHING for record in plan["records"][:, 0]]
    assert heard == [True, False, True]  # the targets, then music
    with pytest.raises(DatasetError, match="nothing in validation has the stem 'effects'"):
        MixPlanner(dataset, "validation", targets=["effects"], **fields)
    other = prepare_waveforms(
        Tones(stems=stems, held_out=tuple(f"effects-{n}" for n in range(4))),
        tmp_path / "other",
        targets=stems,
    )
    with pytest.raises(DatasetError, match="nothing in train has the stem 'effects'"):
        MixPlanner(other, "train", targets=["speech", "effects"], **fields)
