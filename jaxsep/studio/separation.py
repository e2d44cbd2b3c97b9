"""The way of a song through the models: raw samples on the disk, block by block."""

import contextlib
import itertools
import time
from collections.abc import Sequence

from jaxsep.audio.prefetch import prefetch
from jaxsep.audio.reader import AudioError, AudioReader
from jaxsep.separation.separator import READ_SAMPLES, Separator
from jaxsep.studio.jobs import Job

# The page takes no other sample rates in Hz, no more channels and no more samples a second, of all
# channels together, whatever a file claims.
LOWEST_RATE, HIGHEST_RATE = 4_000, 384_000
MOST_CHANNELS, MOST_PER_SECOND = 16, 768_000
# A song is pictured in so many parts, or in more or fewer of these lengths, in seconds. A part is
# held in memory while it is drawn, so it has no more samples than this, of all channels together.
NUM_TILES, SHORTEST_TILE, LONGEST_TILE = 24, 5, 60
MOST_IN_TILE = 2**23
BLOCK_SECONDS = 2  # at most, that are read at a time
USUAL_SECONDS = 240  # of a song whose length isn't known


def separate(job: Job, separators: Sequence[Separator], *, max_seconds: float) -> None:
    """Separates a song by all models at once, until it ends or is cancelled.

    Args:
      job: The song; its fields and files tell how far it is.
      separators: Separators of its models, which give the stems of `Models`.
      max_seconds: Greatest length of a song.

    Raises:
      AudioError: if it can't be read, is too long or has an unusual format.
      OSError: if the disk is full.
    """
    with contextlib.ExitStack() as stack:
        reader = stack.enter_context(AudioReader(job.song))
        rate = job.sample_rate = reader.sample_rate
        job.channels, expected = reader.channels, reader.num_samples or 0
        _check_format(job)
        _check_length(job, expected, max_seconds)
        job.num_samples = expected
        job.tile_samples = tile_length(expected, rate, job.channels)
        job.stems = tuple(separator.stems for separator in separators)
        targets = [(number, t) for number, (*found, _) in enumerate(job.stems) for t in found]
        names = ["original", *(f"{target}-{number}" for number, target in targets)]
        files = [stack.enter_context(open(job.folder / f"{name}.f32", "wb")) for name in names]
        # A block of a low rate has far more samples at the model's.
        size = min(READ_SAMPLES, BLOCK_SECONDS * rate)
        blocks = stack.enter_context(contextlib.closing(prefetch(reader.blocks(size))))
        copies = itertools.tee(blocks, len(separators))
        pairs = zip(separators, copies, strict=True)
        streams = [separator.stream(copy, rate) for separator, copy in pairs]
        begin, first = None, 0
        # A stream yields once for each block, and once more: they stay in step.
        for outputs in zip(*streams, strict=True):
            pieces = [outputs[0][0], *(outputs[number][1][target] for number, target in targets)]
            for file, piece in zip(files, pieces, strict=True):
                file.write(piece.astype("<f4").tobytes())
                file.flush()
            job.ready = min(file.tell() for file in files) // (4 * job.channels)
            job.num_samples = max(expected, job.ready)
            _check_length(job, job.ready, max_seconds)
            if job.cancelled.is_set():
                return
            now = time.monotonic()
            if begin is None:  # the first block waits for the compiler
                begin, first = now, job.ready
            elif job.ready > first:
                per_sample = (now - begin) / (job.ready - first)
                job.seconds_left = per_sample * (job.num_samples - job.ready)
        job.num_samples, job.seconds_left = job.ready, 0.0


def tile_length(num_samples: int, rate: int, channels: int) -> int:
    """Returns the length of the parts that a song is pictured in, in samples.

    Args:
      num_samples: Samples per channel of the song; 0 if they aren't known.
      rate: Sample rate in Hz.
      channels: Number of channels.
    """
    samples = -(-(num_samples or USUAL_SECONDS * rate) // NUM_TILES)
    samples = min(max(SHORTEST_TILE * rate, samples), LONGEST_TILE * rate)
    return min(samples, MOST_IN_TILE // channels)


def _check_format(job: Job) -> None:
    rate, channels = job.sample_rate, job.channels
    is_usual = LOWEST_RATE <= rate <= HIGHEST_RATE and channels <= MOST_CHANNELS
    if not is_usual or rate * channels > MOST_PER_SECOND:
        raise AudioError(
            f"{job.name}: {channels} channels of {rate} Hz; the page takes {LOWEST_RATE} to"
            f" {HIGHEST_RATE} Hz, at most {MOST_CHANNELS} channels, and together at most"
            f" {MOST_PER_SECOND} samples a second; convert it, or use `jaxsep separate`"
        )


def _check_length(job: Job, num_samples: int, max_seconds: float) -> None:
    if num_samples > max_seconds * job.sample_rate:
        minutes = num_samples / job.sample_rate / 60
        raise AudioError(
            f"{job.name}: longer than {max_seconds / 60:g} minutes ({minutes:.1f}); cut it, or use"
            " `jaxsep separate`, which takes any length"
        )
