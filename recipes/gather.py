"""Gathers free music and free voices.

usage: python -m recipes.gather --output=SOURCES [--stems=DIR ...] [--songs=DIR] [--singing=DIR]
       [--speech=DIR]

Music and speech come from Debian packages (`recipes/packages.py`), by apt. --stems are albums of
songs in stems (MUSDB18's layout, or that of `data_prep.stems_folder`), with the licence beside
them; --songs, --singing and --speech are folders of COLLECTION/*.wav (flac, ogg, ...), with a
licence text in each collection. --songs have no stems: a separator, --model, makes them; where the
tracks of a song lie beside its `mixture`, it only tells the voices among them. What can't be had is
named and left out. What is there already isn't made again.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import soxr

from jaxsep.audio.reader import AudioError
from jaxsep.collections.source import Song, TrackError
from jaxsep.convert.published import resolve
from jaxsep.models.files import ModelError
from jaxsep.separation.separator import Separator
from recipes import folders, packages
from recipes.label import label
from recipes.sources import (
    BACKING,
    LEFT_OUT,
    RATE,
    SONG,
    STEMS,
    Item,
    SourceError,
    is_held_out,
    make_parser,
    note_licences,
    plain,
    read_all,
    run,
    to_stereo,
    write,
)

HELD_OUT = (
    *("klettres-he", "klettres-lt", "tuxpaint-lt", "tuxpaint-el"),  # languages of no other voice
    *("ktuberling-lt", "ktuberling-el"),
    *("nabucasa-cc0-pl-PL-darkman", "nabucasa-cc0-pl-PL-gosia", "nabucasa-cc0-ne-NP-chitwan"),
    *("vocadito-CC-BY-4-0", "sms-tools-vignesh"),
    *("hyperrogue", "openclonk", "extremetuxracer"),
    *("Software-Entwicklungskit-Caesium", "bristol7s-political-captain"),
)
PAUSE = 0.3  # seconds of silence between a speaker's recordings


def main() -> int:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--output", type=Path, required=True, help="folder of the sources")
    add("--stems", type=Path, action="append", default=[], help="an album; can be repeated")
    add("--songs", type=Path, help="collections of free songs, voice and backing together")
    add("--model", default="spleeter-2stems", help="labels the vocals of the songs")
    add("--singing", type=Path, help="collections of free singing")
    add("--speech", type=Path, help="collections of free speech")
    add("--hold_out", nargs="*", default=HELD_OUT, help="names (or their starts) for validation")
    names = [package.name for package in packages.PACKAGES]
    add("--packages", nargs="*", choices=names, default=names, metavar="NAME", help="default: all")
    add("--backing_hours", type=float, default=9.0, help="at most, spread over the packages")
    add("--voice_minutes", type=float, default=4.0, help="at most, of one speaker")
    return run(parser, gather)


def gather(args: argparse.Namespace) -> None:
    """Fills the folder of the sources.

    Raises:
      SourceError: if a folder that was named isn't there, or nothing at all was found.
    """
    texts = args.output / "licences"
    texts.mkdir(parents=True, exist_ok=True)
    speech, singing, songs = [], [], []
    if args.speech:
        speech = folders.recordings(args.speech, texts, by_speaker=True)
    if args.singing:
        singing = folders.recordings(args.singing, texts, by_speaker=False)
    backing: dict[str, list[Item]] = {}
    for package in packages.PACKAGES:
        if package.name not in args.packages:
            continue
        try:
            found = packages.items(package, args.output / "packages", texts)
        except SourceError as error:
            print(f"left out: {error}", flush=True)
            continue
        if package.kind == BACKING:
            backing[package.name] = found
        elif package.kind == SONG:
            songs += found
        else:
            speech += found
    speech = _merged(speech)
    if args.songs:
        songs += folders.unlabelled_songs(args.songs, texts)
    if not (speech or singing or songs or backing or args.stems):
        raise SourceError("nothing was found; see the lines above")
    for root in args.stems:
        _write_album(root, args, texts)
    if songs:
        _write_songs(args, songs)
    for item in (*speech, *singing):
        path = Path("voices", _split(item.name, args), f"{item.name}.flac")
        _write(args.output, path, item, lambda item: _voice(item, args.voice_minutes * 60))
    for item in singing:
        path = Path(_split(item.name, args), f"singing-{item.name}", "vocals.flac")
        _write(args.output, path, item, lambda item: to_stereo(_voice(item, np.inf)))
    # The package with the least so far comes next, so that the limit hits all alike.
    seconds = dict.fromkeys(backing, 0.0)
    while backing and sum(seconds.values()) < args.backing_hours * 3600:
        name = min(backing, key=lambda name: seconds[name])
        item = backing[name].pop(0)
        path = Path(_split(item.name, args), item.name, f"{STEMS[BACKING]}.flac")
        seconds[name] += _write(args.output, path, item, _piece)
        if not backing[name]:
            del backing[name]


def _split(name: str, args: argparse.Namespace) -> str:
    return "validation" if is_held_out(name, args.hold_out) else "train"


def _merged(items: list[Item]) -> list[Item]:
    """Joins what several packages have of one speaker."""
    merged: dict[str, Item] = {}
    for item in items:
        if known := merged.get(item.name):
            item = known._replace(
                files=known.files + item.files, source=f"{known.source}, {item.source}"
            )
        merged[item.name] = item
    return list(merged.values())


def _write(root: Path, path: Path, item: Item, make: Callable[[Item], np.ndarray]) -> float:
    """Writes an item unless it is there or was screened out; returns its length in seconds."""
    known = next((p for p in (root / LEFT_OUT / path, root / path) if p.exists()), None)
    if known is None:
        waveform = make(item)
        if not len(waveform):
            print(f"left out: {item.name}, which has no sound", flush=True)
            return 0.0
        known = root / path
        write(known, waveform)
        print(path, flush=True)
    note_licences(root, {str(path): item.entry()})
    return soundfile.info(known).duration


def _voice(item: Item, max_seconds: float) -> np.ndarray:
    """Joins recordings of a voice, spread over all there are: mono `[samples, 1]`."""
    pause = np.zeros((int(PAUSE * RATE), 1), np.float32)
    parts, seconds = [], 0.0
    # By the golden ratio: any number of the first are spread evenly.
    order = np.argsort([(i * 0.618034) % 1 for i in range(len(item.files))])
    for waveform in read_all(item.files[i] for i in order):
        if seconds > max_seconds:
            break
        if np.max(np.abs(waveform), initial=0) > 0.01:
            parts += [waveform.mean(axis=1, keepdims=True), pause]
            seconds += len(waveform) / RATE
    return np.concatenate(parts) if parts else np.zeros((0, 1), np.float32)


def _piece(item: Item) -> np.ndarray:
    """Adds up the instruments of a piece: `[samples, 2]`."""
    parts = [to_stereo(waveform) for waveform in read_all(item.files)]
    total = np.zeros((max(map(len, parts), default=0), 2), np.float32)
    for part in parts:
        total[: len(part)] += part
    return total


def _write_album(root: Path, args: argparse.Namespace, texts: Path) -> None:
    """Writes the songs of an album of stems."""
    licence = folders.note_licence(root, texts)
    source, tracks = folders.open_album(root)
    for track in tracks:
        item = Item(plain(track.name), SONG, (), root.name, "", licence, root.name)
        try:
            _write_song(args, item, lambda track=track: source.load(track))
        except TrackError as error:
            print(f"left out: {root}: {track.name} {error}", flush=True)


def _write_songs(args: argparse.Namespace, songs: list[Item]) -> None:
    """Writes songs that have no stems, as the model parts them."""
    try:
        separator = Separator.restore(resolve(args.model))
    except ModelError as error:
        if args.songs:
            raise SourceError(str(error)) from error
        print(f"left out: the packages' songs: {error}", flush=True)
        return
    note = f", labelled by {Path(args.model).name}"
    for item in songs:
        try:
            _write_song(args, item, lambda item=item: label(separator, item.files), note)
        except AudioError as error:
            print(f"left out: {error}", flush=True)


def _write_song(
    args: argparse.Namespace, item: Item, load: Callable[[], Song], note: str = ""
) -> None:
    """Writes the stems of a song, unless they are there; the note follows their kind."""
    folder = Path(_split(item.name, args), item.name)
    if not (args.output / folder / f"{STEMS[BACKING]}.flac").exists():  # it is written last
        song = load()
        for stem, waveform in folders.vocals_and_rest(song):
            waveform = soxr.resample(waveform, song.sample_rate, RATE)
            write(args.output / folder / f"{stem}.flac", to_stereo(waveform))
            print(folder / f"{stem}.flac", flush=True)
    for kind, stem in STEMS.items():
        entry = item._replace(kind=f"{kind}{note}").entry()
        note_licences(args.output, {str(folder / f"{stem}.flac"): entry})


if __name__ == "__main__":
    sys.exit(main())
