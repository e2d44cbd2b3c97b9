import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile
from flax import linen as nn

from jaxsep import models
from jaxsep.models.lstm import LSTMMasker
from jaxsep.models.masker import Traits, Windows
from jaxsep.separation.separator import Separator
from jaxsep.separation.song_files import OutputExistsError, separate_file
from jaxsep.separation.streamer import Streamer
from jaxsep.spectrogram import analyse, stft, synthesise
from jaxsep.stft_config import StftConfig

STEREO = StftConfig(sample_rate=8000, channels=2, n_fft=256, hop_length=64)
MONO = StftConfig(sample_rate=8000, channels=1, n_fft=256, hop_length=64)


def make(stft_config: StftConfig = STEREO, **fields) -> Separator:
    masker = models.create("lstm", stft_config, hidden_size=8, **fields)
    return Separator(masker, models.init(masker, jax.random.key(0)))


def noise(samples: int, channels: int) -> np.ndarray:
    rng = np.random.default_rng(samples)
    return rng.uniform(-0.5, 0.5, (samples, channels)).astype(np.float32)


def separate_at_once(separator: Separator, waveform: np.ndarray) -> np.ndarray:
    """One transform of the whole song, with what the separator puts around it."""
    config, (samples, _) = separator.stft, waveform.shape
    half, hop, side = config.n_fft // 2, config.hop_length, config.lead_in
    valid_frames = 1 + (side + samples - half) // hop  # centred within the song
    mode = "reflect" if config.padding == "reflect" else "constant"
    padded = np.pad(waveform, ((side, half), (0, 0)), mode)
    padded = jnp.pad(padded, ((0, half + -samples % hop), (0, 0)))
    spectrogram = analyse(padded, config)[None]
    masker, variables = separator._masker, separator._variables
    valid = (jnp.arange(spectrogram.shape[1]) < valid_frames)[None]
    carry = masker.initial_carry(1)
    mask, _ = masker.apply(variables, jnp.abs(spectrogram), carry, valid=valid)
    sound = synthesise((mask[:, 0] * spectrogram)[0], config)
    return np.asarray(sound[side : side + samples])


class WithoutVariables(nn.Module):
    """What maskers have in common that learn nothing."""

    def only(self, targets):
        return self

    def with_statistics(self, variables, statistics):
        return variables


@pytest.mark.slow
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("samples", [1, 63, 8192, 30_001])
def test_blocks_give_what_the_whole_song_gives(samples, bidirectional):
    separator = make(bidirectional=bidirectional)
    waveform = noise(samples, 2)
    ours = separator(waveform, 8000)["vocals"]
    np.testing.assert_allclose(ours, separate_at_once(separator, waveform), atol=1e-5)


OTHER_TRANSFORMS = [
    dataclasses.replace(STEREO, hop_length=55),
    dataclasses.replace(STEREO, hop_length=55, padding="reflect"),
    dataclasses.replace(STEREO, hop_length=64, padding="reflect"),
    dataclasses.replace(STEREO, hop_length=96, win_length=201),
]


@pytest.mark.parametrize("config", OTHER_TRANSFORMS, ids=lambda c: f"{c.hop_length} {c.padding}")
@pytest.mark.parametrize("samples", [2, 100, 255, 8800, 12_345])
def test_any_hop_window_and_ends_stream_as_the_whole_song(config, samples):
    separator, waveform = make(config), noise(samples, 2)
    whole = separate_at_once(separator, waveform)
    np.testing.assert_allclose(separator(waveform, 8000)["vocals"], whole, atol=1e-6)
    streamer = Streamer(separator, 8000, 2)
    parts = [streamer.push(part)["vocals"] for part in np.array_split(waveform, 1 + samples // 50)]
    assert samples - sum(map(len, parts)) <= streamer.latency
    streamed = np.concatenate([*parts, streamer.finish()["vocals"]])
    np.testing.assert_allclose(streamed, whole, atol=1e-6)


def test_the_first_frames_see_the_song_reflected():
    config = OTHER_TRANSFORMS[1]
    seen = []

    class Watching(WithoutVariables):
        stft: StftConfig = config
        targets, traits = ("vocals",), Traits()

        def initial_carry(self, batch):
            return jnp.zeros(batch)

        def __call__(self, magnitude, carry, *, valid=None):
            jax.debug.callback(lambda *frames: seen.append(frames), magnitude, valid, ordered=True)
            return jnp.ones_like(magnitude)[:, None], carry

    waveform = noise(3000, 2)
    vocals = Separator(Watching(), {})(waveform, 8000)["vocals"]
    np.testing.assert_allclose(vocals, waveform, atol=1e-6)
    frames = np.concatenate([magnitude[0][valid[0]] for magnitude, valid in seen])
    expected = np.abs(stft(jnp.asarray(waveform), config))
    np.testing.assert_allclose(frames[-len(expected) :], expected, atol=1e-5)


def make_windowed(window_frames: int, overlap_frames: int) -> Separator:
    class Masker(LSTMMasker):
        """A bidirectional masker with other windows."""

        traits = Traits(Windows(window_frames, overlap_frames))

    masker = Masker(MONO, hidden_size=8, bidirectional=True)
    return Separator(masker, models.init(masker, jax.random.key(0)))


@pytest.mark.slow
def test_windows_give_nearly_what_the_whole_song_gives():
    separator, waveform = make_windowed(64, 16), noise(30_001, 1)
    whole = separate_at_once(separator, waveform)
    error = separator(waveform, 8000)["vocals"] - whole
    assert 0 < np.sum(error**2) < 1e-3 * np.sum(whole**2)


def test_windows_have_no_seams():
    """A masker that says something else in every window: the masks fade from one to the next."""

    class Alternating(WithoutVariables):
        stft: StftConfig = MONO
        targets, traits = ("vocals",), Traits(Windows(32, 16))

        def initial_carry(self, batch):
            return jnp.zeros(batch)

        def __call__(self, magnitude, carry, *, valid=None):
            mask = jnp.broadcast_to(carry[:, None, None, None], magnitude.shape)
            return mask[:, None], 1 - carry

    separator = Separator(Alternating(), {})
    mask = separator.masks(noise(64 * 200, 1))["vocals"][:, 0, 0]
    assert mask.min() < 0.05 and mask.max() > 0.95
    assert np.abs(np.diff(mask)).max() < 1.01 / 16


def test_a_window_begins_with_the_level_of_its_first_frame():
    separator = make_windowed(32, 8)
    loud = np.concatenate([noise(64 * 24, 1), 0.01 * noise(64 * 40, 1)])
    levels = []
    step = separator._predict_masks

    def watch(variables, state, magnitude, valid):
        levels.append(state["carry"]["level"])
        return step(variables, state, magnitude, valid)

    separator._predict_masks = watch
    separator.masks(loud)
    magnitude = jnp.abs(stft(jnp.asarray(loud), MONO))[None]
    masker, start = separator._masker, separator._masker.initial_carry(1)
    _, carry = masker.apply(separator._variables, magnitude[:, :24], start)
    np.testing.assert_allclose(levels[1], carry["level"], rtol=1e-6)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_mask_of_a_song_is_what_the_masker_says_of_it_as_a_whole(bidirectional, monkeypatch):
    monkeypatch.setattr("jaxsep.separation.separator.MASK_FRAMES", 16)
    separator = make(bidirectional=bidirectional)
    waveform = separator.to_format(noise(64 * 99, 2), 8000)
    masker = separator._masker
    magnitude = jnp.abs(stft(waveform, STEREO))[None]
    expected, _ = masker.apply(separator._variables, magnitude, masker.initial_carry(1))
    np.testing.assert_allclose(separator.masks(waveform)["vocals"], expected[0, 0], atol=1e-5)


@pytest.mark.parametrize("windows", [None, Windows(32, 8)], ids=["causal", "in windows"])
def test_complex_masks_turn_the_phase(windows):
    class Turning(WithoutVariables):
        """Halves the mixture and turns its phase by a quarter; the other target is the rest."""

        stft: StftConfig = STEREO
        targets = ("turned", "rest")
        traits = Traits(windows, sees="spectrum", answers="complex")

        def initial_carry(self, batch):
            return ()

        def __call__(self, spectrum, carry, *, valid=None):
            turned = 0.5j * spectrum / jnp.where(spectrum == 0, 1, spectrum)
            return jnp.stack([turned, 1 - turned], axis=1), carry

    time = np.arange(20_000)[:, None] / 8000
    waveform = np.sin(2 * np.pi * np.array([500.0, 1000.0]) * time).astype(np.float32)
    stems = Separator(Turning(), {})(waveform, 8000)
    expected = 0.5 * np.cos(2 * np.pi * np.array([500.0, 1000.0]) * time)
    np.testing.assert_allclose(stems["turned"][300:-300], expected[300:-300], atol=1e-4)
    np.testing.assert_allclose(sum(stems.values()), waveform, atol=1e-5)


def test_the_maskers_format_has_its_rate_and_channels():
    waveform = noise(44_100, 6)
    assert make(MONO).to_format(waveform, 44_100).shape == (8000, 1)
    stereo = make().to_format(waveform[:8000], 8000)
    np.testing.assert_allclose(stereo, np.repeat(waveform[:8000].mean(1)[:, None], 2, 1), atol=1e-6)


@pytest.mark.parametrize("rate", [8000, 11025, 7350, 48000])
@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("samples", [1, 12_345])
def test_stems_have_the_inputs_shape_and_add_up_to_it(rate, channels, samples):
    waveform = noise(samples, channels)
    stems = make()(waveform, rate)
    assert stems["vocals"].shape == stems["accompaniment"].shape == waveform.shape
    assert stems["vocals"].dtype == np.float32
    np.testing.assert_allclose(stems["vocals"] + stems["accompaniment"], waveform, atol=1e-7)


def test_an_identity_mask_returns_the_song_through_a_change_of_rate():
    separator = make()
    head = separator._variables["params"]["mask"]["dense"]
    head["bias"] = jnp.full_like(head["bias"], 1e3)
    time = np.arange(30_000)[:, None] / 22050
    waveform = (0.5 * np.sin(2 * np.pi * np.array([440.0, 1000.0]) * time)).astype(np.float32)
    vocals = separator(waveform, 22050)["vocals"]
    np.testing.assert_allclose(vocals[200:-200], waveform[200:-200], atol=1e-3)


def test_a_song_12_db_quieter_is_separated_alike():
    separator, waveform = make(), noise(20_000, 2)
    loud, quiet = (separator(gain * waveform, 8000)["vocals"] for gain in (1.0, 0.25))
    error = np.sum((quiet - 0.25 * loud) ** 2) / np.sum((0.25 * loud) ** 2)
    assert error < 1e-3


def test_one_channel_is_fed_twice_and_many_each_alone():
    separator, waveform = make(), noise(9000, 6)
    together = separator(waveform, 8000)["vocals"]
    for channel in range(6):
        alone = separator(waveform[:, [channel]], 8000)["vocals"]
        np.testing.assert_allclose(together[:, [channel]], alone, atol=1e-5)
    twice = separator(waveform[:, [0, 0]], 8000)["vocals"]
    np.testing.assert_allclose(together[:, [0]], twice.mean(axis=1, keepdims=True), atol=1e-5)


def test_one_program_serves_all_lengths_and_rates(tiny_workdir):
    separator = Separator.restore(tiny_workdir)
    for samples, rate, channels in [(100, 8000, 2), (30_000, 8000, 1), (9000, 44100, 2)]:
        separator(noise(samples, channels), rate)
    assert separator._separate_window._cache_size() == 1
    separator(noise(9000, 6), 8000)  # six items in a batch are another program
    assert separator._separate_window._cache_size() == 2


@pytest.mark.parametrize(
    ("subtype", "bits"), [("PCM_U8", 8), ("PCM_16", 16), ("PCM_24", 24), ("PCM_32", 32)]
)
def test_files_of_integers_are_split_exactly(tmp_path, subtype, bits):
    song = tmp_path / "song.wav"
    soundfile.write(song, 2 * noise(20_001, 2), 11025, subtype=subtype)
    separate_file(make(), song, tmp_path / "out")
    stems = [tmp_path / "out" / f"{stem}.wav" for stem in ("vocals", "accompaniment")]
    assert {soundfile.info(stem).subtype for stem in stems} == {subtype}
    total = sum(soundfile.read(stem, dtype="int32")[0] >> (32 - bits) for stem in stems)
    np.testing.assert_array_equal(total, soundfile.read(song, dtype="int32")[0] >> (32 - bits))


def test_float_files_keep_their_format_and_add_up(tmp_path):
    song = tmp_path / "song.wav"
    soundfile.write(song, 3 * noise(20_001, 1), 16000, subtype="FLOAT")
    separate_file(make(MONO), song, tmp_path / "out")
    total = sum(soundfile.read(path)[0] for path in (tmp_path / "out").glob("*.wav"))
    assert {soundfile.info(p).subtype for p in (tmp_path / "out").glob("*.wav")} == {"FLOAT"}
    np.testing.assert_allclose(total, soundfile.read(song)[0], atol=1e-6)


def test_stems_that_are_there_stay_unless_told_otherwise(tmp_path):
    song, stem = tmp_path / "song.wav", tmp_path / "out" / "accompaniment.wav"
    soundfile.write(song, noise(1000, 2), 8000)
    stem.parent.mkdir()
    stem.write_text("precious")
    with pytest.raises(OutputExistsError):
        separate_file(make(), song, stem.parent)
    assert stem.read_text() == "precious"
    separate_file(make(), song, stem.parent, overwrite=True)
    assert soundfile.info(stem).frames == 1000


@pytest.mark.parametrize("shape", [(10,), (0, 2), (10, 0)])
def test_arrays_of_no_song_are_refused(shape):
    with pytest.raises(ValueError, match="isn't"):
        make()(np.zeros(shape, np.float32), 8000)
