"""Signals end a command in good order, whatever it is at."""

import io
import signal
import time

import pytest
import soundfile

from jaxsep.audio import reader
from jaxsep.audio.reader import AudioReader
from jaxsep.cli.interrupts import Interrupts
from tests.helpers import tones


class InterruptedFile(io.BytesIO):
    """A file during whose first large read, which is FFmpeg's, a signal comes."""

    name = "song.wav"
    num_signals = 0

    def peek(self, size):
        return self.getvalue()[:size]

    def read(self, size=-1):
        if size > 4_096 and not self.num_signals:
            self.num_signals += 1
            signal.raise_signal(signal.SIGINT)
        return super().read(size)


def test_ctrl_c_while_ffmpeg_opens_a_song_is_not_lost(tmp_path, monkeypatch):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs in the background ignore it
    path = tmp_path / "song.wav"
    soundfile.write(path, tones([300]), 44_100)
    file = InterruptedFile(path.read_bytes())
    monkeypatch.setattr(reader, "_open", lambda path: file)
    with Interrupts() as interrupts, pytest.raises(KeyboardInterrupt), AudioReader(path):
        time.sleep(10)
    assert file.num_signals == 1 and interrupts.number == signal.SIGINT
