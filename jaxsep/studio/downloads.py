"""The stems as audio files: those that `jaxsep separate` would write."""

import zipfile
from pathlib import Path

from jaxsep.audio.reader import AudioReader
from jaxsep.audio.writer import AudioWriter, choose_format
from jaxsep.files import replacing
from jaxsep.separation.separator import READ_SAMPLES, STEMS
from jaxsep.stems import split_exactly
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
    targets = {stem: job.folder / f"{stem}-{model}.{audio_format}" for stem in STEMS}
    if all(target.exists() for target in targets.values()):
        return targets
    with AudioReader(job.song) as reader:
        name, depth = choose_format(reader, audio_format, None)
        form = (reader.sample_rate, reader.channels, depth)
        options = {"audio_format": name, "layout": reader.layout}
        with (
            AudioWriter(targets["vocals"], *form, **options) as vocals_writer,
            AudioWriter(targets["accompaniment"], *form, **options) as rest_writer,
        ):
            position = 0
            # Decoded again, as float32 doesn't hold all that a file can.
            for mixture in reader.blocks(READ_SAMPLES):
                estimate = read_samples(job, f"vocals-{model}", position, len(mixture))
                [vocals], rest, _ = split_exactly(mixture, [estimate], depth)
                vocals_writer.write(vocals)
                rest_writer.write(rest)
                position += len(mixture)
    return targets


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
