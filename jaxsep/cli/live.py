"""`jaxsep live`: from an input of the sound card to an output."""

import argparse
import queue

import numpy as np

from jaxsep.cli.options import (
    INTERRUPTED,
    SOME_FAILED,
    USAGE_ERROR,
    CommandError,
    add_streamer,
    complain,
    ending,
    make_streamer,
)

CUSHION_SECONDS = 0.05  # that the separation may be late
STALLED_SECONDS = 5.0  # without sound from the input


def add(commands) -> None:
    parser = commands.add_parser(
        "live",
        help="separate what an input device hears, and play it",
        description="Plays a stem of what an input device hears, until Ctrl-C. `python -m"
        " sounddevice` lists the devices.",
    )
    add_streamer(parser)
    parser.add_argument(
        "--stem",
        metavar="NAME",
        help="one of `jaxsep separate --stems`: a target, accompaniment, no_NAME, residual;"
        " default: vocals, or the model's first target",
    )
    parser.add_argument("--input", metavar="DEVICE", help="number or part of the name")
    parser.add_argument("--output", metavar="DEVICE", help="number or part of the name")
    parser.set_defaults(run=run)


class Exchange:
    """Stands between the sound card, which can't wait, and the separation, which takes its time.

    Args:
      channels: Number of channels.
      delay: Samples to hear before the first is played.

    Attributes:
      num_underruns: Blocks of the sound card that had to be silence, as stems weren't ready.
      num_lost: Blocks that the sound card itself reports as lost or late.
    """

    def __init__(self, channels: int, delay: int):
        self.num_underruns = self.num_lost = 0
        self._delay = delay
        self._heard: queue.SimpleQueue[np.ndarray] = queue.SimpleQueue()
        self._ready: queue.SimpleQueue[np.ndarray] = queue.SimpleQueue()
        self._rest = np.zeros((0, channels), np.float32)

    def callback(self, heard: np.ndarray, played: np.ndarray, frames: int, time, status) -> None:
        """Takes a block of float32 `[samples, channels]` and fills another; for `sounddevice`."""
        del time
        self.num_lost += bool(status)
        self._heard.put(heard.copy())
        played[:] = 0
        if self._delay > 0:
            self._delay -= frames
            return
        while len(self._rest) < frames and not self._ready.empty():
            self._rest = np.concatenate([self._rest, self._ready.get()])
        # What was played as silence comes later: the delay grows by as much.
        self.num_underruns += len(self._rest) < frames
        played[: len(self._rest)] = self._rest[:frames]
        self._rest = self._rest[frames:]

    def take(self) -> np.ndarray:
        """Returns the next block that was heard.

        Raises:
          queue.Empty: if none comes for `STALLED_SECONDS`.
        """
        return self._heard.get(timeout=STALLED_SECONDS)

    def give(self, stem: np.ndarray) -> None:
        """Has float32 `[samples, channels]` played."""
        self._ready.put(stem)


def run(args: argparse.Namespace) -> int:
    try:
        import sounddevice  # pyright: ignore[reportMissingImports]
    except (ImportError, OSError) as error:  # OSError: the package is there, but not PortAudio
        message = f"needs sounddevice and PortAudio ({error}): pip install 'jaxsep[live]'"
        raise CommandError(message) from None
    from jaxsep.models.files import ModelError
    from jaxsep.separation.waveforms import describe_silenced
    from jaxsep.stems import main_target

    streamer = make_streamer(args, lambda targets: [args.stem or main_target(targets)])
    delay = streamer.latency + round(CUSHION_SECONDS * args.rate)
    exchange = Exchange(args.channels, delay)
    with ending(USAGE_ERROR, OSError, ValueError, sounddevice.PortAudioError):
        stream = sounddevice.Stream(
            samplerate=args.rate,
            channels=args.channels,
            dtype="float32",
            device=(_device(args.input), _device(args.output)),
            callback=exchange.callback,
        )
    (stem,) = streamer.stems
    print(f"playing the {stem} {delay / args.rate:.2f} s after the sound; Ctrl-C ends it")
    try:
        with stream, ending(SOME_FAILED, ModelError):
            while True:
                exchange.give(streamer.push(exchange.take())[stem])
    except KeyboardInterrupt:
        return INTERRUPTED
    except queue.Empty:
        message = f"the input device gave no sound for {STALLED_SECONDS:g} s; is it still there?"
        raise CommandError(message, SOME_FAILED) from None
    finally:
        if streamer.num_silenced:
            complain(describe_silenced(streamer.num_silenced))
        print(f"{exchange.num_underruns} under-runs, {exchange.num_lost} reported by the device")


def _device(name: str | None) -> int | str | None:
    return int(name) if name is not None and name.isdigit() else name
