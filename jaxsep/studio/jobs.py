"""A song and what has become of it so far."""

import dataclasses
import os
import threading
import time
from pathlib import Path
from typing import Literal

State = Literal["uploading", "waiting", "running", "done", "failed"]
LONGEST_NAME = 100


@dataclasses.dataclass
class Job:
    """A song and what has become of it so far.

    Attributes:
      id: Secret identity: who knows it may have the song.
      name: Name of the song, to show; no path is made of it.
      folder: Folder of `song`, `original.f32` and, for each target of each model, `vocals-0.f32`
        and so on: float32 `[samples, channels]`, little-endian, at the song's rate.
      models: Names of the models that separate it.
      stems: Stems of each model, as of `jaxsep.stems.covering`; none as long as it waits.
      state: One of `State`.
      error: Reason of its failure, for the user.
      sample_rate: Sample rate in Hz; 0 as long as it isn't known, as `channels`.
      channels: Number of channels.
      ready: Samples that all models have separated.
      num_samples: Samples of the song; an estimate, or `ready`, until it is done.
      tile_samples: Length of the parts that it is pictured in.
      seconds_left: Estimate of the time left, or None.
      touched: Time of the last request for it, by `time.monotonic`.
      cancelled: Event that is set when nobody wants it any more.
    """

    id: str
    name: str
    folder: Path
    models: tuple[str, ...]
    stems: tuple[tuple[str, ...], ...] = ()
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

    def tell(self, error: Exception) -> str:
        """Returns what an error says, with the song's name in place of its file's."""
        text = str(error).replace(str(self.song), self.name)
        return text.replace(f"{self.folder}{os.sep}", "")


def clean_name(name: str) -> str:
    """Makes a short line of a file's name, fit to be shown and to name a download."""
    name = name.replace("\\", "/").rsplit("/", 1)[-1]
    name = "".join(char if char.isprintable() else "_" for char in name).strip(" .")
    return name[:LONGEST_NAME] or "song"
