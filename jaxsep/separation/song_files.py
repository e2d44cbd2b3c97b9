"""Separation of song files."""

import contextlib
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from jaxsep.audio.prefetch import prefetch
from jaxsep.audio.reader import AudioReader
from jaxsep.audio.writer import AudioWriter, bytes_needed, check_space, choose_format
from jaxsep.separation.separator import READ_SAMPLES, Separator
from jaxsep.stems import make_stems


class OutputExistsError(Exception):
    """Stems are already there and were not to be overwritten."""


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
    are whole. Decoding, separating and encoding each have a thread.

    Args:
      separator: restored.
      path: of the song, in any format that libsndfile or FFmpeg reads.
      folder: for the stems; made if need be.
      overwrite: whether stems that are there may be replaced.
      resume: whether to do nothing if all are there, and to replace those that are there if not.
      audio_format: see `jaxsep.audio.writer.choose_format`, as `bit_depth`.
      audio_stream: see `jaxsep.audio.reader.AudioReader`.
      label: stands before the file's name in the progress bar.
      report: Called with each of `AudioReader.notes`: what was wrong with the file.

    Returns:
      How many samples had to be limited, see `jaxsep.stems.make_stems`.

    Raises:
      OutputExistsError: if they may not.
      jaxsep.audio.reader.AudioError: if the song can't be read or the stems can't be written.
    """
    with AudioReader(path, audio_stream) as reader:
        name, depth = choose_format(reader, audio_format, bit_depth)
        targets = [folder / f"{stem}.{name}" for stem in separator.stems]
        present = [target for target in targets if target.exists()]
        if resume and present == targets:
            return 0
        if present and not overwrite and not resume:
            raise OutputExistsError(
                f"{present[0]} is already there; --overwrite replaces it, --resume skips it"
            )
        needed = bytes_needed(reader, name, depth) * len(targets)
        check_space(folder, reader, needed)
        folder.mkdir(parents=True, exist_ok=True)
        rate, length = reader.sample_rate, reader.num_samples
        form, position, limited = (rate, reader.channels, depth), 0, 0
        # A generator that is the argument of another is closed with it.
        separating = separator.stream(prefetch(reader.blocks(READ_SAMPLES)), rate)
        with (
            contextlib.ExitStack() as stack,
            contextlib.closing(prefetch(separating)) as pairs,
            tqdm(
                total=length and -(-length // rate),
                desc=f"{label}{path.name}",
                leave=False,
                bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} s [{remaining} left]",
            ) as progress,
        ):
            writers = [
                stack.enter_context(
                    AudioWriter(target, *form, audio_format=name, layout=reader.layout)
                )
                for target in targets
            ]
            for mixture, estimates in pairs:
                stems, num_limited = make_stems(mixture, estimates, separator.stems, depth)
                for writer, stem in zip(writers, stems.values(), strict=True):
                    writer.write(stem)
                position, limited = position + len(mixture), limited + num_limited
                progress.update(position // rate - progress.n)
            # All are whole before the first gets its name.
            for writer in writers:
                writer.finish()
        for note in reader.notes:
            report(note)
    return limited
