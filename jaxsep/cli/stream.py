"""`jaxsep stream`: raw samples through a pipe."""

import argparse
import os
import select
import sys
from collections.abc import Iterator

import numpy as np

from jaxsep.cli.options import (
    SOME_FAILED,
    CommandError,
    add_streamer,
    complain,
    make_streamer,
    split_names,
)
from jaxsep.processes import StopRequest

# Little-endian, as ffmpeg's -f, sox and arecord name and write them.
FORMATS = {"f32le": np.dtype("<f4"), "s16le": np.dtype("<i2"), "s32le": np.dtype("<i4")}
READ_BYTES = 2**16  # as much as a pipe holds
POLL_SECONDS = 0.1  # between looks for a request to stop, while nothing comes


def add(commands) -> None:
    parser = commands.add_parser(
        "stream",
        help="separate raw samples from standard input to standard output",
        description="Reads interleaved samples from standard input, without a header, and writes"
        " those of the stem to standard output, in the same format and number; to be put between"
        " programs such as ffmpeg, sox, arecord and aplay. Of several stems, the channels of the"
        " first come first in each sample, then those of the next.",
    )
    add_streamer(parser)
    parser.add_argument(
        "--stems",
        "--stem",
        type=split_names,
        metavar="NAME,...",
        help="as of `jaxsep separate`: targets, accompaniment, no_NAME, residual; both: one target"
        " and the accompaniment; default: vocals, or the model's first target",
    )
    parser.add_argument(
        "--format", choices=FORMATS, default="f32le", help="of the samples; default: f32le"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from jaxsep.models.files import ModelError
    from jaxsep.separation.waveforms import describe_silenced
    from jaxsep.stems import ACCOMPANIMENT, main_target

    if sys.stdin is None or sys.__stdout__ is None:
        raise CommandError("stream needs standard input and output, and one of them is closed")
    if sys.stdin.isatty():
        raise CommandError(
            "stream reads samples from standard input; connect a program or a file to it"
        )

    def choose(targets: tuple[str, ...]) -> list[str]:
        if args.stems == ["both"] and "both" not in targets:
            return [main_target(targets), ACCOMPANIMENT]
        return args.stems or [main_target(targets)]

    streamer = make_streamer(args, choose)
    delay = f"{streamer.latency} samples ({streamer.latency / args.rate:.3f} s)"
    names = ", ".join(streamer.stems)
    print(f"jaxsep: stems ({names}) come at most {delay} after the sound", file=sys.stderr)
    dtype, limited = FORMATS[args.format], 0

    def send(stems: dict[str, np.ndarray]) -> None:
        nonlocal limited
        data, num_limited = to_bytes(np.concatenate(list(stems.values()), axis=1), dtype)
        limited += num_limited
        while data:
            data = data[os.write(sys.stdout.fileno(), data) :]

    code = 0
    with StopRequest("ending with what was heard") as stop:
        try:
            for block in read_blocks(sys.stdin.fileno(), dtype, args.channels, stop):
                send(streamer.push(block))
            send(streamer.finish())
        except BrokenPipeError:  # whoever read it has left
            code = SOME_FAILED
        except OSError as error:
            complain(f"the stream ends early ({error.strerror})")
            code = SOME_FAILED
        except ModelError as error:
            complain(str(error))
            code = SOME_FAILED
    if streamer.num_silenced:
        complain(describe_silenced(streamer.num_silenced))
    if limited:
        complain(f"{limited:,} samples limited to full scale; --format=f32le has room for all")
    return code or (128 + stop.number if stop.number else 0)


def read_blocks(
    file: int, dtype: np.dtype, channels: int, stop: StopRequest
) -> Iterator[np.ndarray]:
    """Yields what comes through a file descriptor, until its end or a request to stop.

    Blocks are float32 `[samples, channels]`, +-1.
    """
    rest, size, is_last = b"", dtype.itemsize * channels, False
    while not is_last:
        is_last = bool(stop.number)  # but what is in the pipe already was heard
        if not select.select([file], [], [], 0 if is_last else POLL_SECONDS)[0]:
            continue
        if not (data := os.read(file, READ_BYTES)):
            break
        data = rest + data
        whole = len(data) // size * size
        data, rest = data[:whole], data[whole:]
        samples = np.frombuffer(data, dtype).reshape(-1, channels)
        yield (samples / full_scale(dtype)).astype(np.float32)
    if rest:
        complain(f"the input ends within a sample: {len(rest)} of {size} bytes; left out")


def to_bytes(samples: np.ndarray, dtype: np.dtype) -> tuple[bytes, int]:
    """Turns float `[samples, channels]` into bytes; also returns how many had to be limited."""
    if dtype.kind == "f":
        return samples.astype(dtype).tobytes(), 0
    scale = full_scale(dtype)
    wanted = np.rint(samples.astype(np.float64) * scale)
    limited = np.clip(wanted, -scale, scale - 1)
    return limited.astype(dtype).tobytes(), int(np.count_nonzero(limited != wanted))


def full_scale(dtype: np.dtype) -> float:
    """Returns what a sample of this type is divided by."""
    return 1.0 if dtype.kind == "f" else 2.0 ** (8 * dtype.itemsize - 1)
