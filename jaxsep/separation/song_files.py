"""Separation of song files."""

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from tqdm import tqdm

from jaxsep.audio.prefetch import prefetch
from jaxsep.audio.reader import AudioReader
from jaxsep.audio.writer import AudioWriter, bytes_needed, check_space, choose_format
from jaxsep.console import printable
from jaxsep.files import sha256_of, sync
from jaxsep.separation.folder_claim import OutputExistsError, begin, claim
from jaxsep.separation.separator import READ_SAMPLES, Separator
from jaxsep.separation.song_record import Making
from jaxsep.stems import make_stems


def separate_file(
    separator: Separator,
    path: Path,
    folder: Path,
    *,
    overwrite: bool = False,
    resume: bool = False,
    audio_format: str = "wav",
    bit_depth: str | None = None,
    audio_stream: int | None = None,
    label: str = "",
    report: Callable[[str], object] = lambda note: None,
) -> int:
    """Separates a file into its stems, `vocals.*`, `accompaniment.*` and so on.

    They have the file's length (M4A up to 1023 samples more), sample rate and channel layout; its
    bit depth too if it holds integer samples, else they are 32-bit float, or 24-bit in FLAC. What
    adds up to the file is said in `jaxsep.stems.make_stems`. None appears under its name before all
    are whole and on the disk. A record of them is kept beside them, see
    `jaxsep.separation.song_record`. Decoding, separating and encoding each have a thread.

    Args:
      separator: A restored separator.
      path: Path of the song, in any format that libsndfile or FFmpeg reads.
      folder: Folder for the stems; made if need be.
      overwrite: Whether stems that are there may be replaced, those of another song as well.
      resume: Whether to do nothing if all are there and unchanged, made by this model with these
        options; otherwise they are made again.
      audio_format: See `jaxsep.audio.writer.choose_format`, as for `bit_depth`.
      audio_stream: See `jaxsep.audio.reader.AudioReader`.
      label: Text before the file's name in the progress bar.
      report: Called with each of `AudioReader.notes`: what was wrong with the file.

    Returns:
      How many samples had to be limited, see `jaxsep.stems.make_stems` and `AudioWriter`.

    Raises:
      OutputExistsError: If stems are there that may not be replaced.
      FolderTakenError: If they are those of another song.
      jaxsep.audio.reader.AudioError: If the song can't be read or the stems can't be written.
      jaxsep.models.files.ModelError: If the model answers with what is no sound.
      OSError: If the folder can't be written.
    """
    with AudioReader(path, audio_stream) as reader:
        name, depth = choose_format(reader, audio_format, bit_depth)
        stems = [folder / f"{stem}.{name}" for stem in separator.stems]
        options = {
            "stems": list(separator.stems),
            "format": name,
            "bit_depth": depth,
            "audio_stream": audio_stream,
            "wiener_iterations": separator.wiener_iterations,
        }
        making = Making(separator.digest, options)
        with claim(path, folder, separator.stems, overwrite=overwrite) as record:
            if resume and record.holds(making, stems):
                return 0
            _check_targets(path, stems, may_replace=overwrite or resume)
            begin(folder, record)
            check_space(folder, reader, bytes_needed(reader, name, depth) * len(stems))
            with contextlib.ExitStack() as stack:
                form = (reader.sample_rate, reader.channels, depth)
                writers = [
                    stack.enter_context(
                        AudioWriter(target, *form, audio_format=name, layout=reader.layout)
                    )
                    for target in stems
                ]
                title = f"{label}{printable(path.name)}"
                num_samples, limited = _write_stems(separator, reader, writers, depth, title)
                # All are whole and stored before the first gets its name.
                digests = {writer.path.name: sha256_of(writer.finish()) for writer in writers}
                record.add(making, digests, seconds=num_samples / reader.sample_rate)
                record.write(folder)
            sync(folder)
        for note in reader.notes:
            report(note)
    return limited


def _check_targets(song: Path, targets: list[Path], *, may_replace: bool) -> None:
    for target in targets:
        if target.exists() and song.exists() and target.samefile(song):
            raise OutputExistsError(f"{target} is the song itself; choose another --output")
        if os.path.lexists(target) and not may_replace:
            raise OutputExistsError(
                f"{target} is already there; --overwrite replaces it, --resume keeps it if it is"
                " finished"
            )


def _write_stems(
    separator: Separator,
    reader: AudioReader,
    writers: Sequence[AudioWriter],
    bit_depth: int | None,
    name: str,
) -> tuple[int, int]:
    """Separates a song, a writer for each stem.

    Returns:
      How many samples the song has, and how many had to be limited.
    """
    rate, length = reader.sample_rate, reader.num_samples
    position = limited = 0
    # A generator that is the argument of another is closed with it.
    separating = separator.stream(prefetch(reader.blocks(READ_SAMPLES)), rate)
    with (
        contextlib.closing(prefetch(separating)) as pairs,
        tqdm(
            total=length and -(-length // rate),
            desc=name,
            leave=False,
            bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} s [{remaining} left]",
        ) as progress,
    ):
        for mixture, estimates in pairs:
            stems, num_limited = make_stems(mixture, estimates, separator.stems, bit_depth)
            for writer, stem in zip(writers, stems.values(), strict=True):
                writer.write(stem)
            position, limited = position + len(mixture), limited + num_limited
            progress.update(position // rate - progress.n)
    return position, limited + sum(writer.num_limited for writer in writers)
