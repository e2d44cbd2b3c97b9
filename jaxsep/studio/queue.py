"""The queue: songs wait, and one is separated at a time."""

import dataclasses
import logging
import secrets
import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from jaxsep.audio.reader import AudioError
from jaxsep.models.files import ModelError
from jaxsep.separation.separator import Separator
from jaxsep.studio import memory
from jaxsep.studio.examples import play_example
from jaxsep.studio.jobs import Job, clean_name
from jaxsep.studio.separation import separate


class UnknownModelError(Exception):
    """There is no such model; the one-line text says which there are."""


class BusyError(Exception):
    """No song can be taken now; the one-line text says why."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a studio takes.

    Attributes:
      megabytes: Size of an upload.
      minutes: Length of a song.
      songs: Number of songs kept, waiting ones included. The finished one that nobody has asked for
        longest gives way to a new one.
    """

    megabytes: float = 500
    minutes: float = 20
    songs: int = 12


class Studio:
    """Takes songs and separates them in a thread, one after the other.

    Args:
      separators: Separators by the model's name, such as `jaxsep.studio.models.Models`.
      folder: Folder of the songs' folders.
      limits: Limits of what it takes.
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
          name: Name of the song's file.
          models: Names of models to separate it; none stands for the first of all.

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
          job: Song of `create`.
          example: Name in `jaxsep.studio.examples`, if the band is to play the song first.
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
                play_example(example, job.song)
            separators = [self.separators[model] for model in job.models]
            separate(job, separators, max_seconds=60 * self.limits.minutes)
        except (AudioError, ModelError) as error:
            job.error = job.tell(error)
        except OSError as error:
            job.error = f"{job.name}: {why_not_written(error)}"
        except Exception as error:  # whatever it is, the next song has its turn
            logging.exception("a song failed")
            job.error = f"{job.name}: failed ({type(error).__name__}); the log says more"
        if job.error:
            job.ready = 0
        if job.error or job.cancelled.is_set():  # it may have made files while it was removed
            shutil.rmtree(job.folder, ignore_errors=True)
        job.state = "failed" if job.error else "done"
        memory.give_back()


def why_not_written(error: OSError) -> str:
    """Tells what is wrong with the disk, and the way out."""
    return f"can't be written ({error.strerror}); free some space on the disk, or remove songs"
