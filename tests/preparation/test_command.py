"""What the flags of a preparation mean, and how it ends."""

import types

import pytest

from jaxsep.audio.reader import AudioError
from jaxsep.collections.source import PreparationError
from jaxsep.data.records import DatasetError
from jaxsep.preparation import command
from jaxsep.preparation.examples import Settings
from jaxsep.stft_config import StftConfig


def run(monkeypatch, *arguments, ends_with=KeyboardInterrupt):
    """Runs a command without the work; returns its exit code and what `prepare` was given."""
    given = []

    def prepare(source, output, settings, **options):
        given.append((source, output, settings, options))
        raise ends_with

    monkeypatch.setattr(command, "prepare", prepare)
    monkeypatch.setattr("sys.argv", ["prepare", *arguments])
    parser = command.make_parser("Prepares songs.")
    command.add_root(parser)
    return command.run(parser, lambda args: args.root), given


def test_without_flags_there_are_six_seconds_of_magnitudes_of_the_default_format(monkeypatch):
    _, [(root, output, settings, options)] = run(monkeypatch, "--root=songs", "--output=data")
    stft = StftConfig()
    targets = ("vocals", "accompaniment")
    assert settings == Settings(stft, targets, stft.frames_in(6.0), 0, 0, "magnitude")
    assert (str(root), str(output)) == ("songs", "data")
    assert options["workers"] >= 1 and not options["skip_bad"]


def test_each_flag_changes_what_it_names(monkeypatch):
    flags = "--root=a --output=b --workers=3 --targets=drums,bass --seed=5 --skip_bad"
    flags += " --segment_seconds=2 --sample_rate=8000 --channels=1 --n_fft=256 --hop_length=64"
    _, [(_, _, settings, options)] = run(monkeypatch, *flags.split())
    stft, targets = StftConfig(8000, 1, 256, 64), ("drums", "bass")
    assert settings == Settings(stft, targets, 250, 0, 5)
    assert options == {"workers": 3, "skip_bad": True}
    _, [(_, _, settings, _)] = run(monkeypatch, *flags.split()[:2], "--remixes=2")
    assert settings.remixes == 2
    waveforms = ["--representation=waveform", "--targets=vocals,drums"]
    _, [(_, _, settings, _)] = run(monkeypatch, *flags.split()[:2], *waveforms)
    assert (settings.targets, settings.representation) == (("vocals", "drums"), "waveform")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "--output, --root"),
        (("--workers=0",), "0 is not a positive whole number"),
        (("--remixes=-1",), "--remixes must be 0 or more"),
        (("--segment_seconds=0",), "--segment_seconds more than 0"),
        (("--hop_length=5000",), "hop_length"),
        (("--representation=waveform", "--remixes=1"), "--remixes is for magnitudes"),
        (("--remixes=1", "--targets=drums"), "--remixes needs --targets=vocals,accompaniment"),
        (("--targets=speech,the music",), "'the music' can't name a stem; use letters"),
        (("--targets=no_vocals",), "'no_vocals' can't name a stem"),
        (("--targets=mixture,drums",), "'mixture' can't name a stem"),
        (("--targets=speech,residual",), "'residual' can't name a stem"),
        (("--targets=track",), "'track' can't name a stem"),
        (("--targets=speech,accompaniment",), "the accompaniment is all but the vocals; leave it"),
        (("--targets=,",), "must be names of stems"),
    ],
)
def test_wrong_flags_are_code_2(monkeypatch, capsys, arguments, words):
    needed = ("--root=songs", "--output=data") if arguments else ()
    try:
        code, given = run(monkeypatch, *needed, *arguments)
    except SystemExit as error:
        code, given = error.code, []
    assert (code, given) == (2, []) and words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (PreparationError("no songs"), 2, "prepare: no songs\n"),
        (DatasetError("not finished"), 2, "prepare: not finished\n"),
        (AudioError("a.wav: cut off"), 1, "a.wav: cut off; run the command again"),
        (OSError(28, "no space"), 1, "no space; run the command again"),
        (KeyboardInterrupt(), 130, "interrupted; run the command again"),
    ],
)
def test_the_exit_code_tells_usage_from_failure(monkeypatch, capsys, error, code, words):
    found, _ = run(monkeypatch, "--root=songs", "--output=data", ends_with=error)
    errors = capsys.readouterr().err
    assert found == code and words in errors and errors.count("\n") == 1


def test_the_summary_tells_what_there_is_and_what_is_missing():
    info = {"num_tracks": 3, "seconds": 90.0, "num_examples": 16, "shards": [{}, {}]}
    skipped = [{"track": "train/a", "reason": "silence"}]
    sources = [{"split": "train", "track": name, "silent": ["effects"]} for name in "bcde"]
    sources += [{"split": "train", "track": "f"}, {"split": "train", "track": "g", "silent": ["x"]}]
    manifest = {"splits": {"train": info}, "skipped": skipped, "sources": sources}
    lines = command.summarise(types.SimpleNamespace(path="data", manifest=manifest))
    assert lines == [
        "data set: data",
        "  train: 3 tracks, 1.5 min, 16 examples in 2 shards",
        "  no validation split: training will have no held-out score",
        "  without effects or silent there: 4 tracks (train/b, train/c, train/d, ...)",
        "  without x or silent there: 1 tracks (train/g)",
        "  skipped train/a because of silence",
    ]
    manifest["splits"]["validation"] = info
    whole = command.summarise(types.SimpleNamespace(path="data", manifest=manifest))
    assert not any("no validation" in line for line in whole)
