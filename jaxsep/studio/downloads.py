"""The stems as audio files: those that `jaxsep separate` would write."""

import contextlib
import zipfile
from pathlib import Path

from jaxsep.audio.reader import AudioReader
from jaxsep.audio.writer import AudioWriter, choose_format
from jaxsep.files import replacing
from jaxsep.separation.separator import READ_SAMPLES
from jaxsep.stems import make_stems
from jaxsep.studio.jobs import Job
from jaxsep.studio.tracks import read_samples

FORMATS = ("wav", "flac", "mp3")


def write_stems(job: Job, model: int, audio_format: str) -> dict[str, Path]:
    """Writes the stems that a model has found, if they aren't there.

    Args:
      job: Song that is done.
      model: Number of the model.
      audio_format: One of `FORMATS`.

    Returns:
      Their files, by stem.

    Raises:
      jaxsep.audio.reader.AudioError: if the format can't hold them or they can't be written.
    """
    stems = job.stems[model]
    paths = {stem: job.folder / f"{stem}-{model}.{audio_format}" for stem in stems}
    if all(path.exists() for path in paths.values()):
        return paths
    with AudioReader(job.song) as reader:
        name, depth = choose_format(reader, audio_format, None)
        form = (reader.sample_rate, reader.channels, depth)
        options = {"audio_format": name, "layout": reader.layout}
        with contextlib.ExitStack() as stack:
            writers = {
                stem: stack.enter_context(AudioWriter(path, *form, **options))
                for stem, path in paths.items()
            }
            position = 0
            # Decoded again, as float32 doesn't hold all that a file can.
            for mixture in reader.blocks(READ_SAMPLES):
                estimates = {
                    target: read_samples(job, f"{target}-{model}", position, len(mixture))
                    for target in stems[:-1]
                }
                for stem, part in make_stems(mixture, estimates, stems, depth)[0].items():
                    writers[stem].write(part)
                position += len(mixture)
    return paths


def write_zip(job: Job, audio_format: str) -> Path:
    """Writes all stems of a song to a zip file, a folder for each model; see `write_stems`."""
    target = job.folder / f"stems-{audio_format}.zip"
    if target.exists():
        return target
    # Stored as they are: audio doesn't become smaller.
    with replacing(target) as part, zipfile.ZipFile(part, "w") as archive:
        for number, model in enumerate(job.models):
            for stem, path in write_stems(job, number, audio_format).items():
                archive.write(path, f"{model}/{stem}.{audio_format}")
    return target
