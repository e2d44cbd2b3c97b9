import dataclasses

import jax
import jax.numpy as jnp
import librosa
import numpy as np
import pytest
from etils import epath

from jaxsep import sharding
from jaxsep.data.device_mixer import DeviceMixer
from jaxsep.data.input_pipeline import eval_batches, train_batches
from jaxsep.data.mixer import Mixer
from jaxsep.data.mixing import UNVARIED, Mixing
from jaxsep.data.records import DatasetError
from jaxsep.data.tfrecord import RecordSource
from jaxsep.preparation.prepare import prepare
from jaxsep.training.loop import train_and_evaluate
from jaxsep.training.setup import ConfigError
from jaxsep.training.step import to_magnitudes
from tests.helpers import (
    RATE,
    TINY_STFT,
    Tones,
    prepare_waveforms,
    raise_at_step,
    restored,
    tiny_band,
    tiny_config,
    tiny_settings,
)


@pytest.fixture(scope="module")
def band(tmp_path_factory):
    return prepare_waveforms(tiny_band(), tmp_path_factory.mktemp("band") / "data")


@pytest.fixture(scope="module")
def tones(tmp_path_factory):
    return prepare_waveforms(Tones(), tmp_path_factory.mktemp("tones") / "data")


def mixtures(dataset, mixing: Mixing, frames: int = 60, count: int = 20):
    mixer = Mixer(dataset, "train", frames=frames, mixing=mixing)
    rng = np.random.default_rng(0)
    return [mixer.mix(mixer.voices[n % len(mixer.voices)], rng) for n in range(count)]


def test_the_stems_are_stored_as_they_are(band):
    source, records = tiny_band(), RecordSource(band.shards("train"))
    for track in [track for track in source.tracks() if track.split == "train"]:
        stored = np.zeros((5 * RATE, 2))
        for number, place in enumerate(band.stem_records("train")):
            if (place.track, place.stem) == (track.name, "vocals"):
                example = band.codec.decode(records[number])
                first = round(place.start * RATE)
                stored[first : first + len(example["waveform"])] = example["waveform"] / 2**15
        np.testing.assert_allclose(stored, source.load(track).stems["vocals"], atol=1e-3)


def test_silent_segments_are_not_stored(tones):
    starts = {place.start for place in tones.stem_records("train")}
    assert starts == {0.0, 1.0, 3.0}


def test_what_exceeds_full_scale_is_scaled_down_as_a_whole(tmp_path):
    dataset = prepare_waveforms(Tones(amplitude=5.0), tmp_path / "data")
    wave = dataset.codec.decode(RecordSource(dataset.shards("train"))[0])["waveform"]
    assert np.abs(wave).max() == 2**15 - 1
    spectrum = np.abs(np.fft.rfft(wave[:, 0]))
    assert np.sort(spectrum)[-2] < 0.01 * spectrum.max()  # no overtones: nothing was clipped


def test_the_device_sees_librosas_magnitudes_of_the_equalised_stems(band):
    example = mixtures(band, Mixing(), count=1)[0]
    magnitudes, valid = to_magnitudes(
        jax.tree.map(lambda x: jnp.asarray(x)[None], example), TINY_STFT
    )
    spectra = [
        librosa.stft(stem.T, n_fft=256, hop_length=64, center=False).transpose(2, 0, 1) * gains
        for stem, gains in zip(example["stems"], example["gains"], strict=True)
    ]
    assert valid.all() and magnitudes["mixture"].shape == (1, 60, 2, 129)
    expected = {"vocals": spectra[0], "accompaniment": spectra[1], "mixture": sum(spectra)}
    for name, spectrum in expected.items():
        np.testing.assert_allclose(magnitudes[name][0], np.abs(spectrum), atol=1e-4)


def test_unvaried_songs_keep_their_own_backing(band):
    source = tiny_band()
    songs = [source.load(track).stems for track in source.tracks() if track.split == "train"]
    for example in mixtures(band, UNVARIED, frames=122, count=8):
        vocals, backing = example["stems"]
        length = len(vocals)
        fits = [
            np.abs(song["vocals"][first : first + length] - vocals).max() < 1e-3
            and np.abs(sum(song.values())[first : first + length] - vocals - backing).max() < 1e-3
            for song in songs
            for first in range(0, 5 * RATE, RATE)
        ]
        assert any(fits)


def test_strangers_are_mixed_at_the_levels_asked_for(tones):
    mixing = dataclasses.replace(UNVARIED, min_vocals_db=-9.0, max_vocals_db=-3.0)
    levels = []
    for example in mixtures(tones, mixing):
        vocals, backing = np.sqrt(np.square(example["stems"]).mean(axis=(1, 2)))
        levels.append(20 * np.log10(vocals / backing))
    assert -9.1 < min(levels) < -7 and -5 < max(levels) < -2.9


def test_what_is_no_more_than_noise_is_not_raised_to_a_voice(tmp_path):
    dataset = prepare_waveforms(Tones(vocals_gain=0.02), tmp_path / "data")
    mixing = dataclasses.replace(UNVARIED, min_vocals_db=0.0, max_vocals_db=0.0)
    for example in mixtures(dataset, mixing):
        level = np.sqrt(np.square(example["stems"][0]).mean())
        assert level < 0.02  # a voice would have that of its backing, 0.07


def test_speed_changes_the_pitch_within_its_limits(tones):
    mixing = dataclasses.replace(UNVARIED, speed=1.25)
    heard = set()
    for example in mixtures(tones, mixing, count=40):
        spectrum = np.abs(np.fft.rfft(example["stems"][0, :, 0]))
        heard.add(spectrum.argmax() * RATE / example["stems"].shape[1])
    ratios = np.array(sorted(heard))[:, None] / [300, 600, 900]
    nearest = ratios[np.arange(len(ratios)), np.abs(np.log(ratios)).argmin(axis=1)]
    assert 0.78 < nearest.min() < 0.9 and 1.1 < nearest.max() < 1.28


@pytest.mark.parametrize(("share", "silent"), [("instrumental", 0), ("a_cappella", 1)])
def test_a_share_of_the_mixtures_lacks_a_stem(tones, share, silent):
    examples = mixtures(tones, dataclasses.replace(UNVARIED, **{share: 0.5}), count=40)
    silences = [not example["stems"][silent].any() for example in examples]
    assert 10 < sum(silences) < 30
    assert all(example["stems"][1 - silent].any() for example in examples)


def test_a_room_adds_a_tail_below_the_voice(tones):
    dry = mixtures(tones, dataclasses.replace(UNVARIED, a_cappella=1.0), frames=250)
    wet = mixtures(tones, dataclasses.replace(UNVARIED, a_cappella=1.0, reverb=1.0), frames=250)
    for before, after in zip(dry, wet, strict=True):
        # Behind the end of a record, a second long, there is silence or the tail.
        is_silent = np.abs(before["stems"][0]).max(axis=1) == 0
        tail, voice = after["stems"][0][is_silent], after["stems"][0][~is_silent]
        assert tail.any() and np.square(tail).mean() < np.square(voice).mean()


def test_each_part_of_a_drum_set_is_drawn_by_itself(tmp_path):
    dataset = prepare_waveforms(
        Tones(stems=("vocals", "drums", "bass")),
        tmp_path / "data",
        targets=("vocals", "drums", "bass"),
    )
    tones_in_backing = set()
    for example in mixtures(dataset, UNVARIED):
        spectrum = np.abs(np.fft.rfft(example["stems"][1, :, 0]))
        tones_in_backing.add(int((spectrum > 0.3 * spectrum.max()).sum()) > 2)
    assert tones_in_backing == {False, True}  # equal tones, and different ones


def test_validation_hears_the_same_mixtures_each_time(tones):
    first, second = (list(eval_batches(tones, "validation", batch_size=2)) for _ in range(2))
    assert [batch["track"].tolist() for batch in first] == [[0, 0], [0, -1]]
    assert first[-1]["num_frames"].tolist() == [125, 0]
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one["stems"], other["stems"])


def test_any_batch_is_the_same_alone_shared_or_later(tones):
    def batches(**changes):
        found = train_batches(tones, batch_size=4, crop_frames=40, seed=0, **changes)
        return [next(found)["stems"] for _ in range(3)]

    whole, later = batches(), batches(first_batch=2)
    shares = [batches(process_index=index, process_count=2) for index in range(2)]
    np.testing.assert_array_equal(whole[2], later[0])
    np.testing.assert_array_equal(whole[1], np.concatenate([share[1] for share in shares]))


def test_an_interrupted_training_on_waveforms_ends_with_the_same_parameters(
    band, tmp_path, monkeypatch
):
    config = tiny_config(band, health_every_steps=2, checkpoint_every_steps=2)
    summary = train_and_evaluate(config, epath.Path(tmp_path / "whole"))
    assert np.isfinite(summary["sdr"]) and (tmp_path / "whole" / "spectrograms.png").exists()
    with monkeypatch.context() as patch:
        patch.setattr("jaxsep.sharding.to_global_batch", raise_at_step(6))
        with pytest.raises(RuntimeError, match="killed"):
            train_and_evaluate(config, epath.Path(tmp_path / "cut"))
    train_and_evaluate(config, epath.Path(tmp_path / "cut"))
    found = [restored(tmp_path / name, 6) for name in ("whole", "cut")]
    jax.tree.map(np.testing.assert_array_equal, *found)


def test_a_data_set_without_voices_is_refused(tmp_path):
    dataset = prepare_waveforms(Tones(stems=("accompaniment",)), tmp_path / "data")
    with pytest.raises(DatasetError, match="nothing in train has the stem 'vocals'"):
        train_batches(dataset, batch_size=2, crop_frames=40, seed=0)


def test_a_validation_without_voices_is_refused_before_the_first_step(tmp_path):
    dataset = prepare_waveforms(Tones(held_out="accompaniment-3"), tmp_path / "data")
    with pytest.raises(DatasetError, match="nothing in validation has the stem 'vocals'"):
        train_and_evaluate(tiny_config(dataset), epath.Path(tmp_path / "workdir"))
    assert not (tmp_path / "workdir" / "metrics.jsonl").exists()


@pytest.mark.parametrize(
    ("field", "value"), [("speed", 3.0), ("paired", 1.5), ("max_vocals_db", -20.0)]
)
def test_mixing_that_makes_no_sense_is_refused(band, tmp_path, field, value):
    config = tiny_config(band)
    config.mixing[field] = value
    with pytest.raises(ConfigError, match=f"mixing.{field}"):
        train_and_evaluate(config, epath.Path(tmp_path))


def test_the_channels_of_mono_mixtures_are_alike(band):
    for share in (0.0, 1.0):
        for example in mixtures(band, Mixing(mono=share), count=5):
            left, right = np.moveaxis(example["stems"], 2, 0)
            assert np.array_equal(left, right) == bool(share)


def mixed_twice(dataset, mixing: Mixing, frames: int):
    """Mixes 40 plans: by the host, a list of examples; and by the device, a batch."""
    mixer, mesh = Mixer(dataset, "train", frames=frames, mixing=mixing), sharding.make_mesh()
    rng = np.random.default_rng(0)
    plans = [mixer.plan(mixer.voices[n % len(mixer.voices)], rng) for n in range(40)]
    stacked = {name: np.stack([plan[name] for plan in plans]) for name in plans[0]}
    mix = DeviceMixer(dataset, "train", frames=frames, mixing=mixing, mesh=mesh)
    batch = jax.device_get(mix(sharding.to_global_batch(stacked, mesh)))
    return [mixer.play(plan) for plan in plans], batch


@pytest.mark.parametrize(
    "mixing",
    [
        UNVARIED,
        Mixing(speed=1.0, reverb=0.0),
        Mixing(paired=0.2, second_voice=0.5, second_backing=0.5, mono=0.3, reverb=0.0),
    ],
)
def test_the_device_mixes_as_the_host_does(band, mixing):
    hosts, found = mixed_twice(band, mixing, frames=60)
    for number, expected in enumerate(hosts):
        assert expected.keys() == found.keys()
        pair = np.stack([expected.pop("stems"), found["stems"][number]])
        limit = 1e-12
        if mixing.speed != 1:  # their resamplers differ, most in what the device's lets alias
            spectra = np.fft.rfft(pair, axis=2)
            pair, limit = spectra[:, :, : spectra.shape[2] * 3 // 4], 1e-3
        error = np.sum(np.abs(pair[0] - pair[1]) ** 2) / np.sum(np.abs(pair[0]) ** 2)
        assert error < limit
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name][number], value)


def test_the_devices_rooms_are_as_loud_and_long_as_the_hosts(tones):
    mixing = dataclasses.replace(UNVARIED, a_cappella=1.0, reverb=1.0)
    hosts, found = mixed_twice(tones, mixing, frames=250)
    expected = np.stack([example["stems"] for example in hosts])
    tail = slice(RATE, None)  # a record is a second long
    energies = [np.square(stems[:, 0, tail]).sum() for stems in (found["stems"], expected)]
    assert 0.6 < energies[0] / energies[1] < 1.6


def test_training_is_the_same_with_mixtures_of_the_device(band, tmp_path):
    config = tiny_config(band, **{"mixing.speed": 1.0, "mixing.reverb": 0.0})
    for name, on_device in (("host", False), ("device", True)):
        config.mix_on_device = on_device
        train_and_evaluate(config, epath.Path(tmp_path / name))
    found = [restored(tmp_path / name, 6)["params"] for name in ("host", "device")]
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), *found)


def test_magnitudes_cannot_be_mixed_on_the_device(tmp_path):
    dataset = prepare(tiny_band(), tmp_path / "data", tiny_settings(), workers=1)
    with pytest.raises(ConfigError, match="mix_on_device needs a data set made with"):
        train_and_evaluate(tiny_config(dataset, mix_on_device=True), epath.Path(tmp_path / "w"))


def test_second_voices_and_backings_are_heard_beside_the_first(tones):
    mixing = dataclasses.replace(UNVARIED, second_voice=0.5, second_backing=0.5)
    heard = []
    for example in mixtures(tones, mixing, count=40):
        spectra = np.abs(np.fft.rfft(example["stems"][:, :, 0]))
        peaks = [
            sum(
                spectrum[k - 2 : k + 3].max() > 0.1 * spectrum.max()
                for k in (example["stems"].shape[1] * tone // RATE for tone in (300, 600, 900))
            )
            for spectrum in spectra
        ]
        heard.append(peaks)
    shares = (np.array(heard) == 2).mean(axis=0)
    assert (shares > 0.1).all() and (shares < 0.7).all()
