"""The sound card's side of `jaxsep live`, without a sound card."""

import queue
import sys
import types

import numpy as np
import pytest

from jaxsep.cli import live, main


def play(exchange: live.Exchange, block: np.ndarray, status=None) -> np.ndarray:
    played = np.full_like(block, np.nan)
    exchange.callback(block, played, len(block), None, status)
    return played


def test_stems_are_played_in_order_after_the_delay():
    exchange = live.Exchange(channels=1, delay=16)
    heard = np.arange(1, 65, dtype=np.float32).reshape(8, 8, 1)
    played = []
    for block in heard:
        played.append(play(exchange, block))
        exchange.give(exchange.take())  # a separation without a latency of its own
    flat = np.concatenate(played)[:, 0]
    np.testing.assert_array_equal(flat[16:], heard.ravel()[:48])
    assert not flat[:16].any()
    assert (exchange.num_underruns, exchange.num_lost) == (0, 0)


def test_what_is_late_is_silence_and_counted_and_played_later():
    exchange = live.Exchange(channels=2, delay=0)
    block = np.ones((8, 2), np.float32)
    assert not play(exchange, block).any()
    exchange.give(exchange.take())
    assert play(exchange, block, status="input overflow").all()
    assert (exchange.num_underruns, exchange.num_lost) == (1, 1)


def test_a_silent_device_is_noticed(monkeypatch):
    monkeypatch.setattr(live, "STALLED_SECONDS", 0.01)
    with pytest.raises(queue.Empty):
        live.Exchange(channels=1, delay=0).take()


class FakeStream:
    """Plays two seconds through the callback, then Ctrl-C."""

    def __init__(self, *, callback, channels, **_):
        self.callback, self.channels = callback, channels

    def __enter__(self):
        for _ in range(20):
            block = np.full((800, self.channels), 0.1, np.float32)
            self.callback(block, np.empty_like(block), 800, None, None)

    def __exit__(self, *_):
        pass


@pytest.fixture
def fake_sounddevice(monkeypatch):
    module = types.SimpleNamespace(PortAudioError=OSError, Stream=FakeStream)
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    return module


def test_it_ends_with_a_count_when_no_sound_comes(
    fake_sounddevice, tiny_workdir, monkeypatch, capsys
):
    monkeypatch.setattr(live, "STALLED_SECONDS", 0.01)
    args = ["live", f"--model={tiny_workdir}", "--rate=8000", "--channels=1"]
    assert main.main(args) == 1
    output = capsys.readouterr()
    assert "under-runs" in output.out
    assert "is it still there?" in output.err


def test_a_device_that_is_not_there_is_one_line_and_code_2(
    fake_sounddevice, tiny_workdir, monkeypatch, capsys
):
    def missing(**_):
        raise ValueError("No input device matching 'nowhere'")

    monkeypatch.setattr(fake_sounddevice, "Stream", missing)
    assert main.main(["live", f"--model={tiny_workdir}", "--input=nowhere"]) == 2
    assert capsys.readouterr().err == "jaxsep: No input device matching 'nowhere'\n"


def test_without_the_package_it_says_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert main.main(["live"]) == 2
    assert "jaxsep[live]" in capsys.readouterr().err
