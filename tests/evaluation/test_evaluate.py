"""`jaxsep evaluate` and what it is made of."""

import json
import shutil
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace

import jax
import museval
import numpy as np
import pytest
import soundfile

from jaxsep import models
from jaxsep.collections.built_in_band import write_audio
from jaxsep.collections.mir1k import Mir1k
from jaxsep.collections.open import open_collection
from jaxsep.collections.source import PreparationError, Song, Track, TrackError
from jaxsep.collections.stems_folder import StemsFolder
from jaxsep.evaluation import evaluate, methods
from jaxsep.evaluation.bsseval import V3, V4, score_track, v3, v4
from jaxsep.evaluation.tables import check_report, make_tables, read_scores, write_report
from jaxsep.metrics import si_sdr, waveform_sdr
from jaxsep.models.load import load_model
from jaxsep.separation.separator import Separator
from jaxsep.stft_config import StftConfig
from tests.helpers import TINY_STFT, tiny_band

RATE = 8000


def noise(seed: int, samples: int = 3 * RATE, channels: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, (samples, channels)).astype(np.float32)


def recording(vocals=None, backing=None) -> methods.Recording:
    vocals = noise(1) if vocals is None else vocals
    backing = noise(2) if backing is None else backing
    stems = {"vocals": vocals, "accompaniment": backing}
    return methods.Recording(vocals + backing, stems, RATE)


def model(name: str = "ours", identity: str = "step 1") -> methods.Method:
    masker = models.create("mlp", TINY_STFT, hidden_size=8)
    separator = Separator(masker, models.init(masker, jax.random.key(0)))
    return methods.Method(name, identity, lambda song: separator(song.mixture, song.sample_rate))


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stems folder with one test track of 5 seconds, and one without vocals."""
    root = tmp_path_factory.mktemp("songs")
    band = tiny_band()
    (track,) = [track for track in band.tracks() if track.split == "test"]
    folder = write_audio(band, track, root)
    silent = root / "test" / "without vocals"
    shutil.copytree(folder, silent)
    samples = soundfile.info(silent / "vocals.wav").frames
    soundfile.write(silent / "vocals.wav", np.zeros((samples, 2)), RATE)
    return root


def run(root: Path, output: Path, ways, version: str = V4) -> tuple[list[str], list[Track]]:
    source = open_collection(root)
    tracks = evaluate.choose_split(source.tracks(), None)
    problems = evaluate.evaluate(source, tracks, ways, output, version=version, workers=1)
    return problems, tracks


def test_scores_are_musevals_own(tmp_path):
    song = recording()
    estimates = {"vocals": song.mixture + noise(3), "accompaniment": song.mixture}
    targets = OrderedDict(
        (stem, SimpleNamespace(audio=wave.astype(np.float64))) for stem, wave in song.stems.items()
    )
    track = SimpleNamespace(targets=targets, name="song", rate=RATE, subset="test")
    museval.eval_mus_track(track, estimates, output_dir=tmp_path)
    assert v4(song.stems, estimates, RATE, "song") == json.loads(
        (tmp_path / "test" / "song.json").read_text()
    )


def test_v3_allows_a_delay_and_measures_the_interference():
    song = recording(noise(1, channels=1), noise(2, channels=1))
    delayed = {stem: np.roll(wave, 3, axis=0) for stem, wave in song.stems.items()}
    assert v3(song.stems, delayed)["vocals"]["SDR"] > 30
    leaking = {
        "vocals": song.stems["vocals"] + 0.1 * song.stems["accompaniment"],
        "accompaniment": song.stems["accompaniment"],
    }
    scores = v3(song.stems, leaking)["vocals"]
    assert scores["SIR"] == pytest.approx(20, abs=0.5) and scores["SAR"] > 60


def test_si_sdr_by_hand():
    reference = np.array([[1.0], [0.0]])
    assert si_sdr(reference, np.array([[2.0], [1.0]])) == pytest.approx(10 * np.log10(4))
    assert si_sdr(reference, -5 * reference) == pytest.approx(120)
    assert si_sdr(reference, np.array([[0.0], [1.0]])) == pytest.approx(-120)
    assert np.isnan(si_sdr(reference, 0 * reference))


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [8000, 11025])
def test_the_ideal_ratio_mask_parts_what_does_not_overlap(rate, channels):
    time = np.arange(2 * RATE + 1)[:, None] / RATE
    vocals, backing = (
        (0.3 * np.sin(2 * np.pi * pitch * time)).astype(np.float32).repeat(channels, axis=1)
        for pitch in (500, 2000)
    )
    song = recording(vocals, backing)
    config = StftConfig(sample_rate=rate, channels=1, n_fft=512, hop_length=128)
    estimates = methods.ideal_mask(config).separate(song)
    inside = slice(RATE // 2, -RATE // 2)
    for stem, wave in song.stems.items():
        assert estimates[stem].shape == wave.shape
        np.testing.assert_allclose(estimates[stem][inside], wave[inside], atol=2e-3)


def test_a_complex_ideal_mask_is_nearer_than_a_real_one():
    song = recording()
    scores = []
    for is_complex in (False, True):
        estimates = methods.ideal_mask(TINY_STFT, is_complex=is_complex).separate(song)
        scores.append(waveform_sdr(song.stems["vocals"], estimates["vocals"]))
    assert scores[1] > scores[0] + 3


def test_four_stems_are_scored_with_their_mean(tmp_path):
    band = tiny_band()
    tracks = [track for track in band.tracks() if track.split == "test"]
    four = ["vocals", "drums", "bass", "other"]
    ways = [methods.unprocessed(), methods.ideal_mask(TINY_STFT)]
    fields = {"stems": four, "version": V4, "workers": 1}
    assert not evaluate.evaluate(band, tracks, ways, tmp_path, **fields)
    tables = make_tables(read_scores(tmp_path, [way.name for way in ways], tracks), "test")
    assert [table.stem for table in tables[::4]] == [*four, "stems' mean"]
    sdr = [table.rows[ways[1].name][0] for table in tables[::4]]
    assert sdr[-1] == pytest.approx(np.mean(sdr[:-1])) and min(sdr) > 3
    with pytest.raises(evaluate.EvaluationError, match="or of other stems; delete it"):
        evaluate.evaluate(band, tracks, ways, tmp_path, version=V4, workers=1)


def test_silent_stems_and_estimates_have_no_score():
    song = recording(vocals=np.zeros_like(noise(1)))
    document = score_track("song", song.stems, song.stems, RATE, V4)
    assert np.isnan(document["jaxsep"]["stems"]["vocals"]["SDR"])
    windows = document["targets"][0]["frames"]
    assert len(windows) == 3 and np.isnan([window["metrics"]["SDR"] for window in windows]).all()
    assert document["jaxsep"]["stems"]["accompaniment"]["SDR"] == pytest.approx(120)
    assert np.isnan(v3(song.stems, song.stems)["vocals"]["SDR"])


def test_a_folder_is_scored_once_and_musevals_tools_read_it(songs, tmp_path, monkeypatch):
    ways = [methods.unprocessed(), model(), methods.ideal_mask(TINY_STFT)]
    problems, tracks = run(songs, tmp_path, ways)
    assert not problems
    names = [way.name for way in ways]
    text = write_report(tmp_path, names, tracks)
    assert text in (tmp_path / "scores.md").read_text()
    assert "median over windows of 1 s, then median over 2 tracks (test)" in text
    assert "mixture: 1 of the tracks have no SDR, SIR, ISR, SAR, for silence" in text

    store = museval.MethodStore()
    for name in names:
        store.add_eval_dir(tmp_path / name)
    theirs = store.agg_frames_tracks_scores()
    ours = make_tables(read_scores(tmp_path, names, tracks), "test")[0]
    for name in names:
        expected = [theirs[name, "vocals", column] for column in ours.columns]
        np.testing.assert_allclose(ours.rows[name], expected)
    assert ours.rows["mixture"][0] < ours.rows[names[-1]][0]

    monkeypatch.setattr(evaluate, "load", lambda *_: pytest.fail("scored again"))
    assert run(songs, tmp_path, ways)[0] == []
    with pytest.raises(evaluate.EvaluationError, match="a score of another model, song or version"):
        run(songs, tmp_path, [model(identity="step 2")])


def test_a_track_that_cannot_be_read_is_named_and_the_others_are_scored(songs, tmp_path):
    root = shutil.copytree(songs, tmp_path / "songs")
    (root / "test" / "without vocals" / "vocals.wav").write_text("text")
    problems, tracks = run(root, tmp_path / "scores", [methods.unprocessed()])
    assert len(problems) == 1 and problems[0].startswith("test/without vocals: ")
    assert "over 1 tracks" in write_report(tmp_path / "scores", ["mixture"], tracks)


def test_a_song_that_changed_under_its_old_scores_is_noticed(songs, tmp_path):
    root = shutil.copytree(songs, tmp_path / "songs")
    run(root, tmp_path / "scores", [methods.unprocessed()])
    stem = root / "test" / "without vocals" / "drums.wav"
    samples, rate = soundfile.read(stem)
    soundfile.write(stem, samples[::-1], rate)  # as many bytes
    with pytest.raises(evaluate.EvaluationError, match="a score of another model, song"):
        run(root, tmp_path / "scores", [methods.unprocessed()])


def test_a_model_that_breaks_down_is_named(songs, tmp_path, tiny_workdir):
    masker, variables, _ = load_model(tiny_workdir)
    broken = Separator(masker, jax.tree.map(lambda leaf: leaf * np.nan, variables))
    ways = [
        methods.unprocessed(),
        methods.Method("ours", "", lambda song: broken(song.mixture, song.sample_rate)),
    ]
    problems, tracks = run(songs, tmp_path, ways)
    assert [problem.split(": ")[1] for problem in problems] == ["ours"] * 2
    assert write_report(tmp_path, ["mixture", "ours"], tracks) == ""


@pytest.mark.slow
def test_a_report_tells_of_what_was_scored_before_and_replaces_only_reports(songs, tmp_path):
    _, tracks = run(songs, tmp_path, [methods.unprocessed(), model("first")])
    run(songs, tmp_path, [methods.unprocessed(), model("second", "step 2")])
    text = write_report(tmp_path, ["mixture", "second"], tracks)
    assert "| first |" in text and "| second |" in text
    check_report(tmp_path)
    (tmp_path / "scores.md").write_text("mine")
    with pytest.raises(OSError, match="isn't of this command"):
        check_report(tmp_path)


def test_damaged_scores_are_named(songs, tmp_path):
    run(songs, tmp_path, [methods.unprocessed()])
    (score, *_) = sorted((tmp_path / "mixture" / "test").iterdir())
    score.write_text("[]")
    with pytest.raises(OSError, match="damaged, not a score; delete it"):
        run(songs, tmp_path, [methods.unprocessed()])


def test_clips_are_scored_as_mir1k_is(tmp_path):
    for number in range(2):
        clip = np.concatenate([noise(1, RATE * (number + 1), 1), noise(2, RATE * (number + 1), 1)])
        soundfile.write(tmp_path / f"{number}.wav", clip.reshape(2, -1).T, RATE)
    _, tracks = run(tmp_path, tmp_path / "scores", [methods.unprocessed()], V3)
    table = make_tables(read_scores(tmp_path / "scores", ["mixture"], tracks), "train")[0]
    assert table.columns == ("GNSDR", "GSIR", "GSAR") and table.rows["mixture"][0] == 0


def document(seconds: float, vocals: float) -> dict:
    sdr = {"vocals": vocals, "accompaniment": 0.0}
    scores = {stem: {"SDR": value, "SIR": value, "SAR": value} for stem, value in sdr.items()}
    whole = {stem: {"SDR": value, "SI-SDR": value} for stem, value in sdr.items()}
    return {"targets": [], "jaxsep": {"seconds": seconds, "stems": whole, V3: scores}}


def test_gnsdr_is_weighted_by_length_and_relative_to_the_mixture():
    mixture = {"a": document(1, vocals=1), "b": document(3, vocals=2)}
    ours = {"a": document(1, vocals=5), "b": document(3, vocals=10)}
    tables = make_tables({"mixture": mixture, "ours": ours}, "test")
    assert tables[0].rows["ours"] == [(4 + 3 * 8) / 4, (5 + 3 * 10) / 4, (5 + 3 * 10) / 4]
    medians, means = tables[1], tables[2]
    assert medians.average == "median over 2 tracks (test)"
    assert means.average == "mean over 2 tracks (test)"
    assert medians.rows["ours"][0] == means.rows["ours"][0] == 7.5


def test_the_split_is_test_unless_there_is_none():
    tracks = [Track("a", "train", 1), Track("b", "validation", 1)]
    assert evaluate.choose_split(tracks, None) == tracks[1:]
    assert evaluate.choose_split(tracks, "train") == tracks[:1]
    with pytest.raises(evaluate.EvaluationError, match="there are train, validation"):
        evaluate.choose_split(tracks, "test")


def test_the_kind_of_a_collection_is_seen_by_its_files(tmp_path):
    for name in ("clips", "songs", "empty"):
        (tmp_path / name).mkdir()
    soundfile.write(tmp_path / "clips" / "a.wav", noise(1), RATE)
    assert isinstance(open_collection(tmp_path / "clips"), Mir1k)
    (tmp_path / "songs" / "song").mkdir()
    soundfile.write(tmp_path / "songs" / "song" / "vocals.wav", noise(1), RATE)
    soundfile.write(tmp_path / "songs" / "song" / "mixture.wav", noise(2), RATE)
    source = open_collection(tmp_path / "songs")
    assert isinstance(source, StemsFolder)
    (track,) = source.tracks()
    assert track.split == "test"
    song = methods.load(source, track)
    np.testing.assert_allclose(
        song.stems["vocals"] + song.stems["accompaniment"], song.mixture, atol=1e-7
    )
    with pytest.raises(PreparationError, match="expected train/<track>/vocals"):
        open_collection(tmp_path / "empty").tracks()
    with pytest.raises(PreparationError, match="no such folder"):
        open_collection(tmp_path / "missing")
    with pytest.raises(PreparationError, match="the stems of one song; give the folder above"):
        open_collection(tmp_path / "songs" / "song")
    soundfile.write(tmp_path / "songs" / "demo.wav", noise(1), RATE)
    with pytest.raises(PreparationError, match="say which it is by --kind"):
        open_collection(tmp_path / "songs")


def test_incomplete_stems_leave_the_rest_to_the_mixture():
    stems = {"vocals": noise(1), "drums": noise(2)}
    song = Song(stems, mixture=noise(1) + noise(2) + noise(3), sample_rate=RATE)
    source = SimpleNamespace(load=lambda track: song)
    truth = methods.load(source, Track("song", "test", 1.0)).stems["accompaniment"]
    np.testing.assert_allclose(truth, noise(2) + noise(3), atol=1e-6)


def test_a_track_without_the_needed_stems_says_so(tmp_path):
    (tmp_path / "song").mkdir()
    soundfile.write(tmp_path / "song" / "vocals.wav", noise(1), RATE)
    source = StemsFolder(tmp_path, "mine", "mine")
    with pytest.raises(TrackError, match="vocals alone"):
        methods.load(source, source.tracks()[0])


def test_stems_of_any_names_are_scored_where_a_song_has_them(tmp_path):
    songs = {
        "both": {"speech": noise(1), "music": noise(2), "effects": noise(3)},
        "one": {"speech": noise(1), "music": noise(2)},
    }
    source = SimpleNamespace(root=None, load=lambda track: Song(songs[track.name], None, RATE))
    tracks = [Track(name, "test", 3.0) for name in ("one", "both")]
    ways = [methods.unprocessed(), methods.ideal_mask(TINY_STFT)]
    fields = {"stems": ["effects", "speech"], "version": V4, "workers": 1}
    assert not evaluate.evaluate(source, tracks, ways, tmp_path, **fields)
    tables = make_tables(read_scores(tmp_path, [way.name for way in ways], tracks), "test")
    assert [table.stem for table in tables[::4]] == ["effects", "speech"]
    for table in tables[::4]:
        mixture, ideal = (table.rows[way.name][0] for way in ways)
        assert mixture < 1 < ideal < 20  # not the whole mixture, though most of it isn't asked for
    assert "mixture: 1 of the tracks have no SDR" in "".join(tables[0].notes)
    assert "have no SDR" not in "".join(tables[4].notes)
    with pytest.raises(TrackError, match="has no stem 'effects', only music, speech"):
        methods.load(source, tracks[0], ["effects"])


def test_what_a_stem_leaves_of_the_mixture_is_a_stem():
    stems = {"speech": noise(1), "music": noise(2), "effects": noise(3)}
    source = SimpleNamespace(load=lambda track: Song(stems, None, RATE))
    song = methods.load(source, Track("song", "test", 1.0), ["speech", "no_speech"])
    np.testing.assert_allclose(song.stems["no_speech"], noise(2) + noise(3), atol=1e-6)
    assert song.rest is None
    alone = methods.load(source, Track("song", "test", 1.0), ["speech"])
    np.testing.assert_allclose(alone.rest, noise(2) + noise(3), atol=1e-6)
    estimate = methods.ideal_mask(TINY_STFT).separate(alone)["speech"]
    assert waveform_sdr(noise(1), estimate) > waveform_sdr(noise(1), alone.mixture) + 5


def test_models_without_vocals_are_scored_on_their_targets(monkeypatch):
    targets = {"a": ("vocals", "drums"), "b": ("vocals",), "c": ("speech",), "d": ("dry", "wet")}
    model_of = {
        path: SimpleNamespace(masker=SimpleNamespace(targets=t)) for path, t in targets.items()
    }
    monkeypatch.setattr(methods, "load_model", model_of.get)
    for paths, stems in {
        "ab": ("vocals", "accompaniment"),
        "c": ("speech", "no_speech"),
        "da": ("dry", "wet"),
    }.items():
        assert methods.default_stems({path: path for path in paths}) == stems


@pytest.mark.slow
def test_the_command_prints_tables(tiny_workdir, songs, tmp_path):
    def jaxsep(*arguments):
        command = [sys.executable, "-m", "jaxsep.cli", "evaluate", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True)

    result = jaxsep(f"--model=tiny={tiny_workdir}", f"--root={songs}", f"--output={tmp_path}")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("| tiny |") == 8 and result.stdout.count("| mixture |") == 8
    wrong = [
        (("--root=missing",), "no such folder"),
        ((f"--root={songs}", "--split=train"), "no tracks of the split 'train'"),
        ((f"--root={songs}", "--workers=0"), "--workers must be 1 or more"),
        ((f"--root={songs}", "--model=mixture=x"), "is a baseline's"),
    ]
    for arguments, message in wrong:
        result = jaxsep(f"--model={tiny_workdir}", f"--output={tmp_path}", *arguments)
        assert result.returncode == 2 and message in result.stderr, result.stderr
        assert result.stderr.count("\n") == 1


def test_scores_are_of_a_model_wherever_it_was_loaded_from_and_of_no_other(tiny_workdir):
    model, *others = (load_model(tiny_workdir / at) for at in ("", "model", "checkpoints/2"))
    assert {methods.identify(other) for other in others} == {methods.identify(model)}
    variables = jax.tree.map(lambda leaf: leaf + 1, model.variables)
    for change in ({"variables": variables}, {"masker": model.masker.clone(mask_limit=2.0)}):
        assert methods.identify(model._replace(**change)) != methods.identify(model)
