"""Songs on their way through the models: a queue, and one that is separated at a time."""

import contextlib
import dataclasses
import itertools
import logging
import secrets
import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np

from data_prep.band import render_song
from jaxsep.audio_reader import AudioError, AudioReader
from jaxsep.audio_writer import AudioWriter
from jaxsep.prefetch import prefetch
from jaxsep.separator import READ_SAMPLES, Separator

State = Literal["uploading", "waiting", "running", "done", "failed"]
# By name, the seed of a song of the built-in band.
EXAMPLES = {"Band, a slow song": 39, "Band, a fast song": 11}
EXAMPLE_SECONDS, EXAMPLE_RATE = 20.0, 44100
LONGEST_NAME = 100
# A song is pictured in so many parts, of which none is shorter, seconds.
NUM_TILES, SHORTEST_TILE = 24, 5
USUAL_SECONDS = 240  # of a song whose length isn't known


class UnknownModelError(Exception):
    """There is no such model; the one-line text says which there are."""


class BusyError(Exception):
    """No song can be taken now; the one-line text says why."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a studio takes.

    Attributes:
      megabytes: of an upload.
      minutes: of a song.
      songs: kept at a time, waiting ones included; of the finished ones, the one that nobody has
        asked for longest gives way to a new one.
    """

    megabytes: float = 500
    minutes: float = 20
    songs: int = 12


@dataclasses.dataclass
class Job:
    """A song and what has become of it so far.

    Attributes:
      id: can't be guessed: who knows it may have the song.
      name: of the song, to show; no path is made of it.
      folder: of its files, which are `song`, `original.f32` and, for each model, `vocals-0.f32` and
        so on: float32 `[samples, channels]`, little-endian, at the song's rate.
      models: names of those that separate it.
      state: of it.
      error: why it failed, for the user.
      sample_rate: in Hz; 0 as long as it isn't known, as `channels`.
      channels: of the song.
      ready: samples that all models have separated.
      num_samples: of the song; an estimate, or `ready`, until it is done.
      tile_samples: length of the parts that it is pictured in.
      seconds_left: an estimate, or None.
      touched: when somebody last asked for it, `time.monotonic`.
      cancelled: set when nobody wants it any more.
    """

    id: str
    name: str
    folder: Path
    models: tuple[str, ...]
    state: State = "uploading"
    error: str = ""
    sample_rate: int = 0
    channels: int = 0
    ready: int = 0
    num_samples: int = 0
    tile_samples: int = 0
    seconds_left: float | None = None
    touched: float = dataclasses.field(default_factory=time.monotonic)
    cancelled: threading.Event = dataclasses.field(default_factory=threading.Event)

    @property
    def song(self) -> Path:
        return self.folder / "song"

    @property
    def is_finished(self) -> bool:
        return self.state in ("done", "failed")


class Studio:
    """Takes songs and separates them in a thread, one after the other.

    Args:
      separators: by the model's name.
      folder: for everything.
      limits: of what it takes.
    """

    def __init__(
        self, separators: Mapping[str, Separator], folder: Path, limits: Limits | None = None
    ):
        self.separators, self.limits = separators, limits or Limits()
        self._folder = folder
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()
        self._worker = ThreadPoolExecutor(1, "separation")

    def create(self, name: str, models: Sequence[str]) -> Job:
        """Makes a place for a song, which is to be written to `Job.song` before `submit`.

        Args:
          name: of the song's file.
          models: that are to separate it; the first one of all if there is none.

        Raises:
          UnknownModelError: if one isn't among the studio's.
          BusyError: if there are too many unfinished songs.
        """
        models = tuple(dict.fromkeys(models)) or tuple(self.separators)[:1]
        for model in models:
            if model not in self.separators:
                there = ", ".join(self.separators)
                raise UnknownModelError(f"no model {model!r}; there is {there}")
        with self._lock:
            self._make_room()
            identity = secrets.token_urlsafe(12)
            job = Job(identity, clean_name(name), self._folder / identity, models)
            job.folder.mkdir()
            self._jobs[identity] = job
        return job

    def _make_room(self) -> None:
        if len(self._jobs) < self.limits.songs:
            return
        finished = [job for job in self._jobs.values() if job.is_finished]
        if not finished:
            raise BusyError(f"{len(self._jobs)} songs are waiting already; remove one, or wait")
        self._discard(min(finished, key=lambda job: job.touched))

    def submit(self, job: Job, *, example: str | None = None) -> None:
        """Puts a song at the end of the queue.

        Args:
          job: of `create`.
          example: a name in `EXAMPLES`, if the band is to play the song first.
        """
        job.state = "waiting"
        self._worker.submit(self._work, job, example)

    def get(self, identity: str) -> Job:
        """Finds a song.

        Raises:
          KeyError: if there is none.
        """
        job = self._jobs[identity]
        job.touched = time.monotonic()
        return job

    def remove(self, identity: str) -> None:
        """Cancels a song and removes all of it.

        Raises:
          KeyError: if there is none.
        """
        with self._lock:
            self._discard(self._jobs[identity])

    def _discard(self, job: Job) -> None:
        del self._jobs[job.id]
        job.cancelled.set()
        shutil.rmtree(job.folder, ignore_errors=True)

    def close(self) -> None:
        """Cancels everything; returns when no thread is at work any more."""
        for identity in list(self._jobs):
            self.remove(identity)
        self._worker.shutdown(cancel_futures=True)

    def _work(self, job: Job, example: str | None) -> None:
        if job.cancelled.is_set():
            return
        job.state = "running"
        try:
            if example is not None:
                play_example(EXAMPLES[example], job.song)
            separators = [self.separators[model] for model in job.models]
            separate(job, separators, max_seconds=60 * self.limits.minutes)
        except AudioError as error:
            job.error = str(error).replace(str(job.song), job.name)
        except OSError as error:
            job.error = f"{job.name}: can't be written ({error.strerror}); is the disk full?"
        except Exception as error:  # whatever it is, the next song has its turn
            logging.exception("a song failed")
            job.error = f"{job.name}: failed ({type(error).__name__}); the log says more"
        if job.error:
            job.ready = 0
            shutil.rmtree(job.folder, ignore_errors=True)
        job.state = "failed" if job.error else "done"


def separate(job: Job, separators: Sequence[Separator], *, max_seconds: float) -> None:
    """Separates a song by all models at once, until it ends or is cancelled.

    Args:
      job: whose fields and files tell how far it is.
      separators: of its models.
      max_seconds: of a song.

    Raises:
      AudioError: if it can't be read or is too long.
      OSError: if the disk is full.
    """
    with contextlib.ExitStack() as stack:
        reader = stack.enter_context(AudioReader(job.song))
        rate = job.sample_rate = reader.sample_rate
        job.channels, expected = reader.channels, reader.num_samples or 0
        _check_length(job, expected, max_seconds)
        job.num_samples = expected
        shortest = SHORTEST_TILE * rate
        job.tile_samples = max(shortest, -(-(expected or USUAL_SECONDS * rate) // NUM_TILES))
        names = ["original", *(f"vocals-{number}" for number in range(len(separators)))]
        files = [stack.enter_context(open(job.folder / f"{name}.f32", "wb")) for name in names]
        blocks = stack.enter_context(contextlib.closing(prefetch(reader.blocks(READ_SAMPLES))))
        copies = itertools.tee(blocks, len(separators))
        pairs = zip(separators, copies, strict=True)
        streams = [separator.stream(copy, rate) for separator, copy in pairs]
        begin, first = None, 0
        # A stream yields once for each block, and once more: they stay in step.
        for outputs in zip(*streams, strict=True):
            pieces = [outputs[0][0], *(estimates["vocals"] for _, estimates in outputs)]
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


def _check_length(job: Job, num_samples: int, max_seconds: float) -> None:
    if num_samples > max_seconds * job.sample_rate:
        minutes = num_samples / job.sample_rate / 60
        raise AudioError(
            f"{job.name}: longer than {max_seconds / 60:g} minutes ({minutes:.1f}); cut it, or use"
            " `jaxsep separate`, which takes any length"
        )


def play_example(seed: int, path: Path) -> None:
    """Writes a song of the built-in band, 16 bits."""
    stems = render_song(seed, duration=EXAMPLE_SECONDS, sample_rate=EXAMPLE_RATE)
    mixture = np.sum(list(stems.values()), axis=0, dtype=np.float64)
    with AudioWriter(path, EXAMPLE_RATE, 2, 16) as writer:
        writer.write(np.round(mixture * 2**15) / 2**15)


def clean_name(name: str) -> str:
    """Makes a short line of a file's name, fit to be shown and to name a download."""
    name = name.replace("\\", "/").rsplit("/", 1)[-1]
    name = "".join(char if char.isprintable() else "_" for char in name).strip(" .")
    return name[:LONGEST_NAME] or "song"
