"""Any targets and any mask: from a data set over a training to stems, by the commands."""

import functools
import json

import jax
import numpy as np
import pytest
import soundfile
from etils import epath

from jaxsep.cli.main import main
from jaxsep.collections.built_in_band import write_audio
from jaxsep.data.records import DatasetError
from jaxsep.models.load import load_model
from jaxsep.preparation.prepare import prepare
from jaxsep.separation.separator import Separator
from jaxsep.training.config_checks import ConfigError
from jaxsep.training.loop import train_and_evaluate
from tests.helpers import (
    prepare_waveforms,
    raise_at_step,
    restored,
    tiny_band,
    tiny_config,
    tiny_settings,
)

FOUR = ("vocals", "drums", "bass", "other")


@pytest.fixture(scope="module")
def waveforms(tmp_path_factory):
    return prepare_waveforms(tiny_band(), tmp_path_factory.mktemp("four") / "data", targets=FOUR)


@pytest.fixture(scope="module")
def magnitudes(tmp_path_factory):
    settings = tiny_settings(targets=FOUR)
    return prepare(tiny_band(), tmp_path_factory.mktemp("four") / "data", settings, workers=1)


@pytest.fixture(scope="module")
def song(tmp_path_factory):
    file = tmp_path_factory.mktemp("song") / "song.wav"
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, (20_000, 2))
    soundfile.write(file, noise, 8000, subtype="PCM_16")
    return file


def separate(workdir, song, stems) -> dict[str, np.ndarray]:
    out = workdir / "separated"
    arguments = ["separate", song, f"--model={workdir}", f"--output={out}", f"--stems={stems}"]
    assert main([str(argument) for argument in arguments]) == 0
    return {stem: soundfile.read(out / song.stem / f"{stem}.wav")[0] for stem in stems.split(",")}


def summary_of(workdir) -> dict:
    return json.loads((workdir / "summary.json").read_text())


@pytest.mark.parametrize("recipe", ["lstm", "mlp"])
def test_four_targets_are_trained_from_magnitudes_and_separated(magnitudes, song, tmp_path, recipe):
    config = tiny_config(magnitudes, recipe, targets=",".join(FOUR), health_every_steps=3)
    summary = train_and_evaluate(config, epath.Path(tmp_path))
    assert list(summary["sdr_by_target"]) == list(FOUR)
    assert summary["sdr"] == pytest.approx(np.mean(list(summary["sdr_by_target"].values())))
    stems = separate(tmp_path, song, ",".join([*FOUR, "residual", "no_drums"]))
    whole = sum(stems[stem] for stem in (*FOUR, "residual"))
    np.testing.assert_array_equal(whole, soundfile.read(song)[0])
    np.testing.assert_array_equal(stems["drums"] + stems["no_drums"], whole)


def test_a_network_for_each_target_is_trained_separated_and_started_from(
    magnitudes, song, tmp_path, capsys
):
    first, second = tmp_path / "first", tmp_path / "second"
    each = {"targets": ",".join(FOUR), "one_network_each": True, "health_every_steps": 3}
    summary = train_and_evaluate(tiny_config(magnitudes, "lstm", **each), epath.Path(first))
    assert list(summary["sdr_by_target"]) == list(FOUR)
    stems = separate(first, song, ",".join([*FOUR, "residual"]))
    np.testing.assert_array_equal(sum(stems.values()), soundfile.read(song)[0])
    masker, variables, _ = load_model(first)
    # A target's stem needs its own network alone.
    for target, network in masker.maskers.items():
        own = {name: tree[target] for name, tree in variables.items()}
        alone = Separator(network, own, stems=[target])(soundfile.read(song)[0], 8000)
        np.testing.assert_allclose(alone[target], stems[target], atol=1e-4)
    assert main(["health", str(first)]) == 0
    assert "drums/lstm_1" in capsys.readouterr().out
    # Smaller steps than float32 can hold leave the parameters as they are.
    start = {"start_from": str(first), "learning_rate": 1e-30, "num_train_steps": 1}
    train_and_evaluate(tiny_config(magnitudes, "lstm", **each, **start), epath.Path(second))
    jax.tree.map(np.testing.assert_array_equal, load_model(second).variables, variables)
    together = tiny_config(magnitudes, "lstm", targets=each["targets"], **start)
    with pytest.raises(ConfigError, match="holds another masker"):
        train_and_evaluate(together, tmp_path / "together")


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["mlp", "openunmix"])
def test_any_recipe_trains_a_network_for_each_target(waveforms, song, tmp_path, recipe):
    each = {"targets": "vocals,drums", "one_network_each": True}
    config = tiny_config(waveforms, recipe, **each)
    if recipe == "openunmix":
        config.model.update(low_bins=100, num_layers=1)
    assert np.isfinite(train_and_evaluate(config, epath.Path(tmp_path))["sdr"])
    masker = load_model(tmp_path).masker
    assert {target: one.targets for target, one in masker.maskers.items()} == {
        "vocals": ("vocals",),
        "drums": ("drums",),
    }
    stems = separate(tmp_path, song, "drums,no_drums")
    np.testing.assert_array_equal(sum(stems.values()), soundfile.read(song)[0])


@pytest.mark.slow
def test_the_validation_of_magnitudes_is_that_of_their_waveforms(magnitudes, waveforms, tmp_path):
    scores = []
    for name, dataset in (("magnitudes", magnitudes), ("waveforms", waveforms)):
        config = tiny_config(dataset, "mlp", targets=",".join(FOUR), num_train_steps=1)
        scores.append(train_and_evaluate(config, tmp_path / name)["sdr_mixture_by_target"])
    for target in FOUR:
        assert scores[0][target] == pytest.approx(scores[1][target], abs=0.3)


def test_one_target_that_is_no_vocals_is_trained_and_separated(waveforms, song, tmp_path):
    config = tiny_config(waveforms, "lstm", targets="drums")
    config.mixing.by_target = {"drums": {"silent": 0.0, "second": 0.5}}
    summary = train_and_evaluate(config, epath.Path(tmp_path))
    assert list(summary["sdr_by_target"]) == ["drums"]
    stems = separate(tmp_path, song, "drums,accompaniment")
    np.testing.assert_array_equal(sum(stems.values()), soundfile.read(song)[0])


COMPLEX = {
    "model.name": "tiny_complex",
    "targets": "vocals,drums",
    "stft.hop_length": 55,
    "stft.padding": "reflect",
    "loss": "spectrum_l1+waveform_l1",
}


def complex_config(dataset, **changes):
    config = tiny_config(dataset, "mlp")
    del config.model.normalise, config.model.exponent
    config.update_from_flattened_dict({**COMPLEX, **changes})
    return config


def bsrnn_config(dataset, **changes):
    config = tiny_config(dataset, "bsrnn")
    small = {"features": 4, "num_layers": 1, "mask_size": 4, "bidirectional": False}
    config.model.update(small)
    fields = {name: value for name, value in COMPLEX.items() if name != "model.name"}
    config.update_from_flattened_dict({"stft.n_fft": 256, **fields, **changes})
    return config


LAYERS = {
    "tiny": ("dense", "mask"),
    "bsrnn, one each": ("vocals/split", "vocals/mask_vocals", "drums/time_1", "drums/mask_drums"),
}
LAYERS |= dict.fromkeys(
    ("bsrnn", "bsrnn, both ways"),
    ("split", "time_1", "bands_1", "mask_vocals", "mask_drums"),
)
CONFIGS = {
    "tiny": complex_config,
    "bsrnn": functools.partial(bsrnn_config, **{"model.across": "dense"}),
    "bsrnn, both ways": functools.partial(bsrnn_config, **{"model.bidirectional": True}),
    "bsrnn, one each": functools.partial(
        bsrnn_config, **{"model.across": "dense", "one_network_each": True}
    ),
}
SLOW = ("bsrnn, both ways", "bsrnn, one each")


@pytest.mark.parametrize(
    "kind", ["tiny", "bsrnn", *(pytest.param(kind, marks=pytest.mark.slow) for kind in SLOW)]
)
def test_complex_masks_go_through_every_command(kind, waveforms, song, tmp_path, capsys):
    workdir = tmp_path / "workdir"
    config = CONFIGS[kind](waveforms, health_every_steps=2)
    summary = train_and_evaluate(config, epath.Path(workdir))
    assert np.isfinite(summary["sdr"]) and (workdir / "spectrograms.png").exists()
    masker = load_model(workdir).masker
    assert (masker.stft.hop_length, masker.stft.padding) == (55, "reflect")
    assert masker.targets == ("vocals", "drums")
    stems = separate(workdir, song, "vocals,drums,residual")
    np.testing.assert_array_equal(sum(stems.values()), soundfile.read(song)[0])
    assert main(["health", str(workdir)]) == 0
    shown = capsys.readouterr().out
    assert all(layer in shown for layer in LAYERS[kind])
    assert main(["plot", str(song), f"--model={workdir}", f"--output={tmp_path / 'p.png'}"]) == 0
    band = tiny_band()
    (track,) = [track for track in band.tracks() if track.split == "test"]
    write_audio(band, track, tmp_path / "songs")
    command = ["evaluate", f"--root={tmp_path / 'songs'}", f"--output={tmp_path / 'scores'}"]
    assert main([*command, f"--model={workdir}", "--stems=vocals,drums", "--workers=1"]) == 0
    report = capsys.readouterr().out
    assert "ideal complex mask 8000 Hz 256 55" in report and "of the drums" in report
    assert main(["export", str(workdir), f"--output={tmp_path / 'model'}"]) == 0
    assert load_model(tmp_path / "model").masker == masker


@pytest.mark.slow
@pytest.mark.parametrize("kind", CONFIGS)
def test_a_training_of_complex_masks_resumes_bit_exactly(kind, waveforms, tmp_path, monkeypatch):
    config = CONFIGS[kind](waveforms, checkpoint_every_steps=2, ema_decay=0.9)
    train_and_evaluate(config, epath.Path(tmp_path / "whole"))
    counted = sum(r.stem in ("vocals", "drums") for r in waveforms.stem_records("train"))
    with monkeypatch.context() as patch:
        # The first batches are those of the statistics, which the recipe's transform needs.
        patch.setattr("jaxsep.sharding.to_global_batch", raise_at_step(counted + 6))
        with pytest.raises(RuntimeError, match="killed"):
            train_and_evaluate(config, epath.Path(tmp_path / "cut"))
    train_and_evaluate(config, epath.Path(tmp_path / "cut"))
    found = [restored(tmp_path / name, 6)["params"] for name in ("whole", "cut")]
    jax.tree.map(np.testing.assert_array_equal, *found)


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["waveform_l1", "multi_resolution", "negative_sdr", "compressed"])
def test_any_loss_trains_any_mask_on_waveforms(waveforms, tmp_path, loss):
    config = complex_config(waveforms, loss=loss, num_train_steps=2, targets="vocals")
    assert np.isfinite(train_and_evaluate(config, tmp_path / "complex")["sdr"])
    real = tiny_config(waveforms, "mlp", loss=loss, num_train_steps=2, targets="vocals,bass")
    assert np.isfinite(train_and_evaluate(real, tmp_path / "real")["sdr"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": "waveform_l1"}, "loss=waveform_l1 needs a data set made with --representation"),
        ({"targets": "vocals,piano"}, "can't train 'piano', but vocals, drums, bass, other"),
        ({"targets": "vocals,vocals"}, "must be one or more different names"),
        ({"targets": ""}, "targets="),
        ({"targets": "vocals,vocals", "one_network_each": True}, "each once: vocals$"),
        ({"targets": "", "one_network_each": True}, "names"),
        ({"stft.hop_length": 32}, "holds magnitudes of .*hop_length=64"),
    ],
)
def test_what_magnitudes_cannot_train_is_refused(magnitudes, tmp_path, changes, message):
    config = tiny_config(magnitudes, "mlp", **changes)
    with pytest.raises((ConfigError, DatasetError), match=message):
        train_and_evaluate(config, tmp_path / "workdir")
    assert not (tmp_path / "workdir").exists()
