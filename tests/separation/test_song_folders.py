"""Each song has a folder of its own, and finds it again."""

import os
import unicodedata
from pathlib import Path

import pytest

from jaxsep.separation import song_folders
from jaxsep.separation.song_folders import SongFolders, base_name, portable_name, source_digest
from jaxsep.separation.song_record import NAME, Making, SongRecord

STEMS = ("vocals", "accompaniment")


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def finish(song: Path, folder: Path) -> None:
    """Leaves in a folder what separating a song leaves."""
    write(folder / "vocals.wav", f"vocals of {song.read_text(encoding='utf-8')}")
    record = SongRecord(source_digest(song), song.name)
    record.add(Making("model", {}), {"vocals.wav": "0"}, seconds=1.0)
    record.write(folder)


def separate(output: Path, *songs: Path, overwrite: bool = False) -> list[str]:
    """Chooses folders as a call does, one song after the other, and fills them."""
    folders = SongFolders(output, songs, STEMS, overwrite=overwrite)
    names = []
    for index, song in enumerate(songs):
        finish(song, folders.choose(index))
        names.append(folders.choose(index).name)
    return names


def album(folder: Path, *names: str) -> list[Path]:
    return [write(folder / name / "01.wav", name) for name in names]


def test_songs_keep_their_names_in_any_order_of_calls(tmp_path):
    a, b, c = album(tmp_path, "a", "b", "c")
    out = tmp_path / "out"
    assert separate(out, b, c) == ["01", "01-2"]
    assert separate(out, a, b, c) == ["01-3", "01", "01-2"]
    assert separate(out, c) == ["01-2"]
    assert separate(out, a) == ["01-3"]
    assert separate(out, c, b, a) == ["01-2", "01", "01-3"]


def test_a_name_that_was_freed_moves_no_other_song(tmp_path):
    a, b, c = album(tmp_path, "a", "b", "c")
    out = tmp_path / "out"
    separate(out, a, b, c)
    for path in (out / "01-2").iterdir():
        path.unlink()
    (out / "01-2").rmdir()
    assert separate(out, c) == ["01-3"]
    assert separate(out, b) == ["01-2"]


def test_overwrite_replaces_another_songs_stems_only_under_the_plain_name(tmp_path):
    a, b, c = album(tmp_path, "a", "b", "c")
    out = tmp_path / "out"
    assert separate(out, a) == ["01"]
    assert separate(out, b, overwrite=True) == ["01"]
    assert separate(out, b, c) == ["01", "01-2"]
    assert separate(out, a, b, c, overwrite=True) == ["01-3", "01", "01-2"]


def test_a_song_given_twice_and_equal_songs_have_a_folder_each(tmp_path):
    a, b = album(tmp_path, "a", "b")
    b.write_text("a", encoding="utf-8")
    for _ in range(2):
        assert separate(tmp_path / "out", a, a, b) == ["01", "01-2", "01-3"]


def test_a_song_called_like_anothers_number_is_another_song(tmp_path):
    a, b = album(tmp_path, "a", "b")
    third = write(tmp_path / "01-2.wav", "third")
    out = tmp_path / "out"
    assert separate(out, a, b, third) == ["01", "01-2", "01-2-2"]
    assert separate(out, third, b, a) == ["01-2-2", "01-2", "01"]


@pytest.mark.parametrize(
    "names",
    [
        ("Song.wav", "sonG.flac"),
        (unicodedata.normalize("NFC", "Ä é.wav"), unicodedata.normalize("NFD", "ä É.mp3")),
        ("STRASSE.wav", "straße.wav"),
        ("song..wav", "song .wav"),
        ("what?.wav", "what_.wav"),
        ("con.wav", "_CON.wav"),
    ],
)
def test_names_that_some_file_system_takes_for_equal_are_told_apart(tmp_path, names):
    songs = [write(tmp_path / str(i) / name, name) for i, name in enumerate(names)]
    out = tmp_path / "out"
    first, second = (song.stem for song in songs)
    assert separate(out, *songs) == [first, f"{second}-2"]
    assert separate(out, songs[1]) == [f"{second}-2"]


def test_stems_without_a_record_or_with_a_damaged_one_are_nobodys_to_replace(tmp_path):
    (song,) = album(tmp_path, "a")
    out = tmp_path / "out"
    write(out / "01" / "accompaniment.flac", "precious")
    write(out / "01-2" / NAME, "[" * 100_000)
    write(out / "01-3", "a file")
    (out / "01-4").symlink_to(tmp_path / "nowhere")
    write(out / "01-5" / "lyrics.txt", "la")
    folders = SongFolders(out, [song], STEMS, overwrite=False)
    assert folders.choose(0).name == "01-5"
    assert folders.displaced == {0: out / "01"}
    assert SongFolders(out, [song], STEMS, overwrite=True).choose(0).name == "01"


def test_a_crashed_calls_folder_is_free(tmp_path):
    a, b = album(tmp_path, "a", "b")
    (tmp_path / "out" / "01").mkdir(parents=True)
    SongRecord(source_digest(a), a.name).write(tmp_path / "out" / "01")
    assert separate(tmp_path / "out", b) == ["01"]


def test_no_song_of_the_call_lies_in_a_folder_that_is_used(tmp_path):
    out = tmp_path / "out"
    vocals = write(out / "vocals" / "vocals.wav", "a song called vocals")
    other = write(tmp_path / "vocals.wav", "another one")
    for overwrite in (False, True):
        folders = SongFolders(out, [vocals, other], STEMS, overwrite=overwrite)
        assert [folders.choose(0).name, folders.choose(1).name] == ["vocals-2", "vocals-3"]


def test_another_folder_is_chosen_when_one_is_lost_to_another_call(tmp_path):
    a, b = album(tmp_path, "a", "b")
    folders = SongFolders(tmp_path / "out", [b], STEMS, overwrite=False)
    assert folders.choose(0).name == "01"
    finish(a, tmp_path / "out" / "01")
    folders.give_up(0)
    assert folders.choose(0).name == "01-2"


@pytest.mark.parametrize(
    ("name", "replaced"),
    [
        ("a:b?", "a_b_"),
        ('<>"/\\|*\n', "________"),
        ("CON", "_CON"),
        ("com1.live", "_com1.live"),
        ("Conquest", "Conquest"),
        ("dots...", "dots___"),
        ("space ", "space_"),
        ("a.b c", "a.b c"),
    ],
)
def test_names_are_made_portable(name, replaced):
    assert portable_name(name) == replaced


def test_a_name_that_the_file_system_refuses_is_replaced_and_found_again(tmp_path, monkeypatch):
    mkdir = Path.mkdir

    def refuse(path, *args, **kwargs):
        if portable_name(path.name) != path.name:
            raise OSError(22, "Invalid argument", str(path))
        mkdir(path, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", refuse)
    songs = [write(tmp_path / f"{name}.wav", name) for name in ("a:b?", "CON", "song.", "plain")]
    for _ in range(2):
        assert separate(tmp_path / "out", *songs) == ["a_b_", "_CON", "song_", "plain"]


def test_a_name_that_the_file_system_takes_stays(tmp_path):
    song = write(tmp_path / "a:b?.wav", "song")
    assert separate(tmp_path / "out", song) == ["a:b?"]


def test_no_name_leads_out_of_the_output_folder():
    for path in ("...wav", "x/..wav", "..", "."):
        assert base_name(Path(path)).strip(".")


def test_long_names_leave_room_for_a_number(tmp_path):
    for first, letters in (("", 120), ("x", 119)):  # no letter is cut in two
        songs = [write(tmp_path / f"{i}" / (first + "é" * 127), f"{first}{i}") for i in range(2)]
        name = first + "é" * letters
        assert separate(tmp_path / "out", *songs) == [name, f"{name}-2"]


def test_bytes_that_are_not_utf_8_become_underscores(tmp_path):
    assert base_name(Path(os.fsdecode(b"caf\xe9.wav"))) == "caf_"


def test_letters_are_right_in_a_locale_that_knows_none(monkeypatch):
    def encode(name):  # as in the locale C without UTF-8 mode
        return name.encode("ascii", "surrogateescape")

    monkeypatch.setattr(song_folders.os, "fsencode", encode)
    monkeypatch.setattr(song_folders.os, "fsdecode", lambda b: b.decode("ascii", "surrogateescape"))
    name = "né".encode().decode("ascii", "surrogateescape")
    assert encode(base_name(Path(f"{name}.wav"))) == "né".encode()
